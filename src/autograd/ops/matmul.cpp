#include "autograd/ops/matmul.h"

#include "autograd/aux.h"
#include "core/error.h"
#include "kernels/linear.h"

namespace frugal::ops {

kernels::Precision precision(const Context& ctx) {
  return ctx.compute == Compute::bf16 ? kernels::Precision::bf16 : kernels::Precision::f32;
}

WeightView view_weight(const Tensor& weight) {
  if (weight.as_stored() && weight.is_f32()) return {weight.data(), kernels::Element::f32, {}};
  if (weight.as_stored() && &weight.format() == &formats::bf16)
    return {weight.data(), kernels::Element::bf16, {}};
  WeightView view{nullptr, kernels::Element::f32, weight.decoded()};
  view.data = view.decoded.data();
  return view;
}

kernels::Gemm forward_problem(const float* x, int64_t rows, const Tensor& weight, const WeightView& view,
                              float* y) {
  const int64_t out = weight.dim(0), in = weight.cols();
  return {.m = rows,
          .n = out,
          .k = in,
          .a = x,
          .a_row = in,
          .a_col = 1,
          .b = view.data,
          .b_type = view.type,
          .b_row = 1,
          .b_col = in,
          .c = y,
          .c_row = out,
          .accumulate = false};
}

kernels::Gemm input_gradient_problem(const float* dy, const Tensor& weight, const WeightView& view,
                                     int64_t rows, Tensor::GradientTarget dx) {
  const int64_t out = weight.dim(0), in = weight.cols();
  return {.m = rows,
          .n = in,
          .k = out,
          .a = dy,
          .a_row = out,
          .a_col = 1,
          .b = view.data,
          .b_type = view.type,
          .b_row = in,
          .b_col = 1,
          .c = dx.data,
          .c_row = in,
          .accumulate = dx.accumulate};
}

kernels::Gemm weight_gradient_problem(const float* dy, const float* x, int64_t rows, const Tensor& weight,
                                      Tensor::GradientTarget dw) {
  const int64_t out = weight.dim(0), in = weight.cols();
  return {.m = out,
          .n = in,
          .k = rows,
          .a = dy,
          .a_row = 1,
          .a_col = out,
          .b = x,
          .b_type = kernels::Element::f32,
          .b_row = in,
          .b_col = 1,
          .c = dw.data,
          .c_row = in,
          .accumulate = dw.accumulate};
}

void add_bias(const Context& ctx, Tensor& y, const Tensor& bias) {
  const int64_t n = y.cols();
  const std::vector<float> decoded = bias.is_f32() ? std::vector<float>{} : bias.decoded();
  const float* b = bias.is_f32() ? bias.f32() : decoded.data();
  float* out = y.f32();
  ctx.pool.parallel_for(y.rows(), 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t c = 0; c < n; ++c) out[r * n + c] += b[c];
    }
  });
}

static void multiply_streaming(const Context& ctx, std::span<const Product> products) {
  std::vector<kernels::LinearProblem> problems;
  for (const Product& p : products) {
    const int64_t out = p.weight.dim(0), in = p.weight.cols();
    problems.push_back({.rows = p.rows,
                        .in = in,
                        .out = out,
                        .x = p.x,
                        .x_row = in,
                        .w = p.view.data,
                        .w_type = p.view.type,
                        .w_row = in,
                        .y = p.y,
                        .y_row = out});
  }
  kernels::linear(ctx.pool, ctx.kernels, problems);
}

void observe_input(const Context& ctx, const Tensor& weight, const float* x, int64_t rows, int64_t in) {
  if (ctx.aux != nullptr && ctx.aux->inputs != nullptr) ctx.aux->inputs->product(weight, x, rows, in);
}

void multiply(const Context& ctx, std::span<const Product> products) {
  for (const Product& p : products) observe_input(ctx, p.weight, p.x, p.rows, p.weight.cols());
  if (ctx.stream_weights) return multiply_streaming(ctx, products);
  std::vector<kernels::Gemm> problems;
  for (const Product& p : products) problems.push_back(forward_problem(p.x, p.rows, p.weight, p.view, p.y));
  kernels::gemm(ctx.pool, ctx.kernels, problems, precision(ctx));
}

void multiply(const Context& ctx, const float* x, int64_t rows, const Tensor& weight, float* y) {
  const WeightView view = view_weight(weight);
  const Product product{x, rows, weight, view, y};
  multiply(ctx, {&product, 1});
}

void multiply_input_gradient(const Context& ctx, const float* dy, const Tensor& weight, int64_t rows,
                             Tensor::GradientTarget dx) {
  const WeightView view = view_weight(weight);
  const kernels::Gemm problem = input_gradient_problem(dy, weight, view, rows, dx);
  kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, precision(ctx));
}

void multiply_weight_gradient(const Context& ctx, const float* dy, const float* x, int64_t rows,
                              const Tensor& weight, Tensor::GradientTarget dw) {
  const kernels::Gemm problem = weight_gradient_problem(dy, x, rows, weight, dw);
  kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, precision(ctx));
}

}  // namespace frugal::ops
