// RMSNorm (Zhang & Sennrich 2019, eq. 4) over the last dimension.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& weight, float eps) {
  const int64_t rows = x.rows(), dim = x.cols();
  CHECK(weight.size() == dim, "weight {} for rows of {}", to_string(weight.shape()), dim);
  const OpScope scope(ctx, "norm", 0, 2 * bytes_of(x));
  Tensor y = Tensor::empty(ctx, x.shape()), inv_rms = Tensor::empty(ctx, {rows});
  // A norm stored in 16 bits is decoded here: it is tiny beside the rows.
  const Tensor scale =
      weight.is_f32() || ctx.dry_run() ? weight : Tensor::from(ctx, weight.shape(), weight.decoded());
  if (!ctx.dry_run()) {
    kernels::rms_norm_forward(ctx.pool, ctx.kernels,
                              {.rows = rows,
                               .dim = dim,
                               .x = x.f32(),
                               .weight = scale.f32(),
                               .eps = eps,
                               .y = y.f32(),
                               .inv_rms = inv_rms.f32()});
  }
  if (recording(ctx, x, weight)) {
    y.require_gradient(false);
    ctx.tape->record(y, [x, weight, scale, inv_rms, y = y.gradient_handle()](const Context& c) {
      Tensor::GradientTarget dx{nullptr, false};
      if (x.needs_gradient()) dx = x.gradient_target(c);
      float* dweight = weight.needs_gradient() ? weight.gradient_sum(c) : nullptr;
      if (c.dry_run()) return;
      kernels::rms_norm_backward(c.pool, c.kernels,
                                 {.rows = x.rows(),
                                  .dim = x.cols(),
                                  .dy = y.gradient(),
                                  .x = x.f32(),
                                  .weight = scale.f32(),
                                  .inv_rms = inv_rms.f32(),
                                  .dx = dx.data,
                                  .accumulate = dx.accumulate,
                                  .dweight = dweight});
    });
  }
  return y;
}

}  // namespace frugal::ops
