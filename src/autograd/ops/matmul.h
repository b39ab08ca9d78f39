// Products with a weight of any format, shared by the ops that have one (linear, moe_ffn, cross_entropy).
#pragma once

#include <span>
#include <vector>

#include "core/context.h"
#include "kernels/gemm.h"
#include "tensor/tensor.h"

namespace frugal::ops {

kernels::Precision precision(const Context& ctx);

// A weight as the kernels take it: f32 and bf16 as stored; any other format, and a matrix with an adapter
// beside it, decoded into `decoded` first.
struct WeightView {
  const void* data;
  kernels::Element type;
  std::vector<float> decoded;
};
WeightView view_weight(const Tensor& weight);

// y (rows, out) = x (rows, in) W^T. Several in one call share the threads evenly (experts).
struct Product {
  const float* x;
  int64_t rows;
  const Tensor& weight;
  const WeightView& view;
  float* y;
};
void multiply(const Context& ctx, std::span<const Product> products);
void multiply(const Context& ctx, const float* x, int64_t rows, const Tensor& weight, float* y);
// Shows x (rows, in) to the context's InputObserver, where there is one. multiply() does; products of other
// kinds call it.
void observe_input(const Context& ctx, const Tensor& weight, const float* x, int64_t rows, int64_t in);
// Adds `bias` (cols) to every row of y; any format.
void add_bias(const Context& ctx, Tensor& y, const Tensor& bias);
// dx (rows, in) (+)= dy (rows, out) W.
void multiply_input_gradient(const Context& ctx, const float* dy, const Tensor& weight, int64_t rows,
                             Tensor::GradientTarget dx);
// dW (out, in) (+)= dy^T x.
void multiply_weight_gradient(const Context& ctx, const float* dy, const float* x, int64_t rows,
                              const Tensor& weight, Tensor::GradientTarget dw);

// The three products as GEMM problems, for grouping.
kernels::Gemm forward_problem(const float* x, int64_t rows, const Tensor& weight, const WeightView& view,
                              float* y);
kernels::Gemm input_gradient_problem(const float* dy, const Tensor& weight, const WeightView& view,
                                     int64_t rows, Tensor::GradientTarget dx);
kernels::Gemm weight_gradient_problem(const float* dy, const float* x, int64_t rows, const Tensor& weight,
                                      Tensor::GradientTarget dw);

}  // namespace frugal::ops
