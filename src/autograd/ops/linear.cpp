// y = x W^T + b. With a tape the packed GEMM does forward and backward; without one the dot form streams the
// weight as it is stored, whatever the number of rows, so that decoding one token or verifying eight gives
// the same bits.
#include <algorithm>

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

std::vector<Tensor> linears(Context& ctx, const Tensor& x, std::span<const LinearLayer> layers) {
  const auto adapted = [](const LinearLayer& layer) { return layer.weight->low_rank() != nullptr; };
  std::vector<Tensor> outputs;
  if (std::ranges::any_of(layers, adapted)) {
    for (const auto& [weight, bias] : layers) outputs.push_back(linear(ctx, x, *weight, *bias));
    return outputs;
  }
  double flops = 0, bytes = 0;
  for (const auto& [weight, bias] : layers) {
    flops += product_flops(x.rows(), x.cols(), weight->dim(0));
    bytes += bytes_of(*weight);
  }
  const OpScope scope(ctx, "linear", flops, bytes);
  std::vector<Product> products;
  for (const auto& [weight, bias] : layers) {
    CHECK(x.cols() == weight->cols(), "x {} with weight {}", to_string(x.shape()),
          to_string(weight->shape()));
    CHECK(!*bias || bias->size() == weight->dim(0));
    Tensor& y = outputs.emplace_back(Tensor::empty(ctx, {x.rows(), weight->dim(0)}));
    if (!ctx.dry_run()) products.push_back({x.f32(), x.rows(), weight, y.f32()});
  }
  multiply(ctx, products);
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor &weight = *layers[i].weight, &bias = *layers[i].bias;
    Tensor& y = outputs[i];
    if (bias && !ctx.dry_run()) add_bias(ctx, y, bias);
    if (!recording(ctx, x, weight, bias)) continue;
    y.require_gradient(false);
    // A frozen weight's product needs no input to go backward: its memory is free for others.
    ctx.tape->record(y,
                     [x = weight.needs_gradient() ? x : x.gradient_handle(), weight, bias,
                      y = y.gradient_handle()](const Context& c) { linear_backward(c, x, weight, bias, y); });
  }
  return outputs;
}

Tensor linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (weight.low_rank() != nullptr) return adapted_product(ctx, x, weight, bias, linear);
  const LinearLayer layer{&weight, &bias};
  return std::move(linears(ctx, x, {&layer, 1}).front());
}

}  // namespace frugal::ops
