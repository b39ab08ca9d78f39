// Residual addition.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

// Adds dy to the gradient of x, or makes it that.
static void pass_on(const Context& ctx, const Tensor& x, const float* dy) {
  if (!x.needs_gradient()) return;
  const auto dx = x.gradient_target(ctx);
  if (ctx.dry_run()) return;
  if (dx.accumulate) {
    kernels::axpy(ctx.pool, ctx.kernels, x.size(), 1.0f, dy, dx.data);
  } else {
    kernels::scale(ctx.pool, ctx.kernels, x.size(), 1.0f, dy, dx.data);
  }
}

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  CHECK(a.shape() == b.shape(), "{} + {}", to_string(a.shape()), to_string(b.shape()));
  const OpScope scope(ctx, "add", 0, 3 * bytes_of(a));
  Tensor y = Tensor::empty(ctx, a.shape());
  if (!ctx.dry_run()) kernels::add(ctx.pool, ctx.kernels, a.size(), a.f32(), b.f32(), y.f32());
  if (recording(ctx, a, b)) {
    y.require_gradient(false);
    ctx.tape->record(
        y, [a = a.gradient_handle(), b = b.gradient_handle(), y = y.gradient_handle()](const Context& c) {
          pass_on(c, a, y.gradient());
          pass_on(c, b, y.gradient());
        });
  }
  return y;
}

}  // namespace frugal::ops
