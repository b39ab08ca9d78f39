// Products with a weight of any format, shared by the ops that have one (linear, moe_ffn, cross_entropy).
#pragma once

#include <span>
#include <vector>

#include "autograd/ops.h"
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

// Rows [begin, end) of a matrix of any format as f32: Tensor::decode_rows, by kernels where there is one.
void decode_rows(const Context& ctx, const Tensor& weight, int64_t begin, int64_t end, float* to);

// y (rows, out) = x (rows, in) W^T. Several in one call share the threads evenly (experts), and what is done
// to an x once (rounding it to int8) is shared by all products of the same x. Weights of any format: in
// inference they are read as they lie (Compute::fast multiplies block formats with int8 activations; what no
// kernel reads is decoded a few rows at a time), in training decoded as a whole.
struct Product {
  const float* x;
  int64_t rows;
  const Tensor* weight;
  float* y;
  // Parts of matrices, in inference only: floats from row to row of x and y (0: adjacent rows), and which
  // rows of the weight (0: all).
  int64_t x_row = 0, y_row = 0;
  int64_t first = 0, outs = 0;
  Sensitivity sensitivity = Sensitivity::medium;
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
