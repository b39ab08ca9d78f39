// Gaussian error linear units.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

Tensor gelu(Context& ctx, const Tensor& x, GeluForm form) {
  const kernels::Gelu kind = form == GeluForm::tanh ? kernels::Gelu::tanh : kernels::Gelu::erf;
  const OpScope scope(ctx, "gelu", 0, 2 * bytes_of(x));
  Tensor y = Tensor::empty(ctx, x.shape());
  if (!ctx.dry_run()) kernels::gelu_forward(ctx.pool, ctx.kernels, kind, x.size(), x.f32(), y.f32());
  if (recording(ctx, x)) {
    y.require_gradient(false);
    ctx.tape->record(y, [x, kind, y = y.gradient_handle()](const Context& c) {
      const auto dx = x.gradient_target(c);
      CHECK(!dx.accumulate, "the input of gelu is used twice");
      if (!c.dry_run()) {
        kernels::gelu_backward(c.pool, c.kernels, kind, x.size(), x.f32(), y.gradient(), dx.data);
      }
    });
  }
  return y;
}

}  // namespace frugal::ops
