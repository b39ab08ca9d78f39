// y = x W^T + b. With a tape the packed GEMM does forward and backward; without one the dot form streams the
// weight as it is stored, whatever the number of rows, so that decoding one token or verifying eight gives
// the same bits.
#include <algorithm>
#include <memory>
#include <utility>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/low_rank.h"
#include "autograd/ops/matmul.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

// Products of one x, with what their backward needs.
struct Group {
  struct Layer {
    Tensor weight, bias, y;
  };
  Tensor x;  // without its values where no weight wants a gradient
  std::vector<Layer> layers;
  bool done = false;
};

void input_gradients(const Context& ctx, const Group& group) {
  for (const auto& [weight, bias, y] : group.layers) {
    if (!y.has_gradient()) continue;
    const auto dx = group.x.gradient_target(ctx);
    if (!ctx.dry_run()) multiply_input_gradient(ctx, y.gradient(), weight, group.x.rows(), dx);
  }
}

// In one call: they have x in common.
void weight_gradients(const Context& ctx, const Group& group) {
  std::vector<kernels::Gemm> problems;
  for (const auto& [weight, bias, y] : group.layers) {
    if (!y.has_gradient() || !weight.needs_gradient()) continue;
    const auto dw = weight.gradient_target(ctx);
    if (ctx.dry_run()) continue;
    problems.push_back(weight_gradient_problem(y.gradient(), group.x.f32(), group.x.rows(), weight, dw));
  }
  kernels::gemm(ctx.pool, ctx.kernels, problems, precision(ctx));
}

// Consumers of the outputs were recorded after all of them, so when the first of the group's closures runs,
// every output's gradient is complete: it does the work of all.
void linear_backward(const Context& ctx, Group& group) {
  if (std::exchange(group.done, true)) return;
  if (group.x.needs_gradient()) input_gradients(ctx, group);
  weight_gradients(ctx, group);
  for (const auto& [weight, bias, y] : group.layers) {
    if (!bias || !bias.needs_gradient() || !y.has_gradient()) continue;
    float* db = bias.gradient_sum(ctx);
    if (!ctx.dry_run()) kernels::sum_rows(ctx.pool, ctx.kernels, y.rows(), y.cols(), y.gradient(), 0, db);
  }
}

void record_group(const Context& ctx, const Tensor& x, std::span<const LinearLayer> layers,
                  std::vector<Tensor>& outputs) {
  if (ctx.tape == nullptr) return;
  const auto group = std::make_shared<Group>();
  bool trained = false;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor &weight = *layers[i].weight, &bias = *layers[i].bias;
    if (!recording(ctx, x, weight, bias)) continue;
    outputs[i].require_gradient(false);
    group->layers.push_back({weight, bias, outputs[i].gradient_handle()});
    trained |= weight.needs_gradient();
  }
  // Frozen weights' products need no input to go backward: its memory is free for others.
  group->x = trained ? x : x.gradient_handle();
  const Tape::Op work = ctx.tape->begin_op({"linear"});  // of the closure that runs first, for profiles
  for (size_t i = 0; i < group->layers.size(); ++i) {
    if (i + 1 == group->layers.size()) ctx.tape->begin_op(work);
    ctx.tape->record(group->layers[i].y, [group](const Context& c) { linear_backward(c, *group); });
  }
  ctx.tape->begin_op(work);
}

}  // namespace

std::vector<Tensor> linears(Context& ctx, const Tensor& x, std::span<const LinearLayer> layers) {
  const auto adapted = [](const LinearLayer& layer) { return layer.weight->low_rank() != nullptr; };
  std::vector<Tensor> outputs;
  if (std::ranges::any_of(layers, adapted)) {
    for (const auto& [weight, bias, sensitivity] : layers)
      outputs.push_back(linear(ctx, x, *weight, *bias, sensitivity));
    return outputs;
  }
  double flops = 0, bytes = 0;
  for (const auto& [weight, bias, sensitivity] : layers) {
    flops += product_flops(x.rows(), x.cols(), weight->dim(0));
    bytes += bytes_of(*weight);
  }
  const OpScope scope(ctx, "linear", flops, bytes);
  std::vector<Product> products;
  for (const auto& [weight, bias, sensitivity] : layers) {
    CHECK(x.cols() == weight->cols(), "x {} with weight {}", to_string(x.shape()),
          to_string(weight->shape()));
    CHECK(!*bias || bias->size() == weight->dim(0));
    Tensor& y = outputs.emplace_back(Tensor::empty(ctx, {x.rows(), weight->dim(0)}));
    if (!ctx.dry_run()) {
      products.push_back(
          {.x = x.f32(), .rows = x.rows(), .weight = weight, .y = y.f32(), .sensitivity = sensitivity});
    }
  }
  multiply(ctx, products);
  for (size_t i = 0; i < layers.size() && !ctx.dry_run(); ++i) {
    if (*layers[i].bias) add_bias(ctx, outputs[i], *layers[i].bias);
  }
  record_group(ctx, x, layers, outputs);
  return outputs;
}

Tensor linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
              Sensitivity sensitivity) {
  if (weight.low_rank() != nullptr) {
    const auto plain = [&](Context& c, const Tensor& in, const Tensor& w, const Tensor& b) {
      return linear(c, in, w, b, sensitivity);
    };
    return adapted_product(ctx, x, weight, bias, plain);
  }
  const LinearLayer layer{&weight, &bias, sensitivity};
  return std::move(linears(ctx, x, {&layer, 1}).front());
}

}  // namespace frugal::ops
