// LayerNorm (Ba et al. 2016) over the last dimension.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

static Tensor as_f32(const Context& ctx, const Tensor& t) {
  return t.is_f32() || ctx.dry_run() ? t : Tensor::from(ctx, t.shape(), t.decoded());
}

Tensor layer_norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, float eps) {
  const int64_t rows = x.rows(), dim = x.cols();
  CHECK(weight.size() == dim && bias.size() == dim);
  const OpScope scope(ctx, "norm", 0, 2 * bytes_of(x));
  Tensor y = Tensor::empty(ctx, x.shape()), mean = Tensor::empty(ctx, {rows}),
         inv = Tensor::empty(ctx, {rows});
  const Tensor scale = as_f32(ctx, weight), shift = as_f32(ctx, bias);
  if (!ctx.dry_run()) {
    kernels::layer_norm_forward(ctx.pool, ctx.kernels,
                                {.rows = rows,
                                 .dim = dim,
                                 .x = x.f32(),
                                 .weight = scale.f32(),
                                 .bias = shift.f32(),
                                 .eps = eps,
                                 .y = y.f32(),
                                 .mean = mean.f32(),
                                 .inv_std = inv.f32()});
  }
  if (recording(ctx, x, weight, bias)) {
    y.require_gradient(false);
    ctx.tape->record(y, [x, weight, bias, scale, mean, inv, y = y.gradient_handle()](const Context& c) {
      Tensor::GradientTarget dx{nullptr, false};
      if (x.needs_gradient()) dx = x.gradient_target(c);
      float* dweight = weight.needs_gradient() ? weight.gradient_sum(c) : nullptr;
      float* dbias = bias.needs_gradient() ? bias.gradient_sum(c) : nullptr;
      if (c.dry_run()) return;
      kernels::layer_norm_backward(c.pool, c.kernels,
                                   {.rows = x.rows(),
                                    .dim = x.cols(),
                                    .dy = y.gradient(),
                                    .x = x.f32(),
                                    .weight = scale.f32(),
                                    .mean = mean.f32(),
                                    .inv_std = inv.f32(),
                                    .dx = dx.data,
                                    .accumulate = dx.accumulate,
                                    .dweight = dweight,
                                    .dbias = dbias});
    });
  }
  return y;
}

}  // namespace frugal::ops
