// y = x W^T + b. With a tape the packed GEMM does forward and backward; without one the dot form streams the
// weight as it is stored, whatever the number of rows, so that decoding one token or verifying eight gives
// the same bits.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/low_rank.h"
#include "autograd/ops/matmul.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

void linear_backward(const Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Tensor& y) {
  if (x.needs_gradient()) {
    const auto dx = x.gradient_target(ctx);
    if (!ctx.dry_run()) multiply_input_gradient(ctx, y.gradient(), weight, x.rows(), dx);
  }
  if (weight.needs_gradient()) {
    const auto dw = weight.gradient_target(ctx);
    if (!ctx.dry_run()) multiply_weight_gradient(ctx, y.gradient(), x.f32(), x.rows(), weight, dw);
  }
  if (bias && bias.needs_gradient()) {
    float* db = bias.gradient_sum(ctx);
    if (!ctx.dry_run()) kernels::sum_rows(ctx.pool, ctx.kernels, y.rows(), y.cols(), y.gradient(), 0, db);
  }
}

}  // namespace

Tensor linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  CHECK(x.cols() == weight.cols(), "x {} with weight {}", to_string(x.shape()), to_string(weight.shape()));
  CHECK(!bias || bias.size() == weight.dim(0));
  if (weight.low_rank() != nullptr) return adapted_product(ctx, x, weight, bias, linear);
  const OpScope scope(ctx, "linear", product_flops(x.rows(), x.cols(), weight.dim(0)), bytes_of(weight));
  Tensor y = Tensor::empty(ctx, {x.rows(), weight.dim(0)});
  if (!ctx.dry_run()) {
    multiply(ctx, x.f32(), x.rows(), weight, y.f32());
    if (bias) add_bias(ctx, y, bias);
  }
  if (recording(ctx, x, weight, bias)) {
    y.require_gradient(false);
    // A frozen weight's product needs no input to go backward: its memory is free for others.
    ctx.tape->record(y,
                     [x = weight.needs_gradient() ? x : x.gradient_handle(), weight, bias,
                      y = y.gradient_handle()](const Context& c) { linear_backward(c, x, weight, bias, y); });
  }
  return y;
}

}  // namespace frugal::ops
