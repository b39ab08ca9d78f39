#include "autograd/ops/matmul.h"

#include "autograd/aux.h"
#include "autograd/ops/multiply_streaming.h"
#include "core/error.h"

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

void decode_rows(const Context& ctx, const Tensor& weight, int64_t begin, int64_t end, float* to) {
  const Format& format = weight.format();
  const int64_t width = weight.cols(), values = (end - begin) * width;
  if (weight.scales() != nullptr) return weight.decode_rows(begin, end, to);
  const std::byte* from = weight.data() + format.bytes(begin * width);
  if (format.blocks != kernels::Blocks::none) {
    ctx.kernels.dequantize(format.blocks, values, from, to);
  } else if (&format == &formats::f16 && reinterpret_cast<uintptr_t>(from) % alignof(uint16_t) == 0) {
    ctx.kernels.f16_to_f32(values, reinterpret_cast<const uint16_t*>(from), to);
  } else {
    weight.decode_rows(begin, end, to);
  }
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

void observe_input(const Context& ctx, const Tensor& weight, const float* x, int64_t rows, int64_t in) {
  if (ctx.aux != nullptr && ctx.aux->inputs != nullptr) ctx.aux->inputs->product(weight, x, rows, in);
}

void multiply(const Context& ctx, std::span<const Product> products) {
  for (const Product& p : products) {
    const bool whole = p.x_row == 0 && p.outs == 0;  // parts of matrices are not observed
    if (whole) observe_input(ctx, *p.weight, p.x, p.rows, p.weight->cols());
  }
  if (ctx.stream_weights) return multiply_streaming(ctx, products);
  std::vector<WeightView> views;
  std::vector<kernels::Gemm> problems;
  views.reserve(products.size());
  for (const Product& p : products) {
    CHECK(p.x_row == 0 && p.y_row == 0 && p.outs == 0, "parts of matrices in a packed product");
    views.push_back(view_weight(*p.weight));
    problems.push_back(forward_problem(p.x, p.rows, *p.weight, views.back(), p.y));
  }
  kernels::gemm(ctx.pool, ctx.kernels, problems, precision(ctx));
}

void multiply(const Context& ctx, const float* x, int64_t rows, const Tensor& weight, float* y) {
  const Product product{x, rows, &weight, y};
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
