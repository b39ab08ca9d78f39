// The product with a matrix that has an adapter beside it (tensor/low_rank.h), for linear and
// linear_transposed.
#pragma once

#include "autograd/ops.h"
#include "autograd/ops/matmul.h"
#include "tensor/low_rank.h"

namespace frugal::ops {

// `plain` is the op itself, for matrices without an adapter.
using PlainProduct =
    FunctionRef<Tensor(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias)>;
Tensor adapted_product(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                       PlainProduct plain);

// The pieces, on bare memory, for moe_ffn; x (rows, in), y and dy (rows, out).
// h (rows, r) = scale x A^T.
void low_rank_input(const Context& ctx, const LowRank& l, const float* x, int64_t rows, float* h);
// The same, and y += h B^T.
void low_rank_forward(const Context& ctx, const LowRank& l, const float* x, int64_t rows, float* h, float* y);
// dh (rows, r) = scale dy B, and dx += dh A when dx is given.
void low_rank_input_gradient(const Context& ctx, const LowRank& l, const float* dy, int64_t rows, float* dh,
                             Tensor::GradientTarget dx);
// dB += dy^T h, dA += dh^T x.
void low_rank_weight_gradient(const Context& ctx, const LowRank& l, const float* x, const float* h,
                              const float* dy, const float* dh, int64_t rows);

}  // namespace frugal::ops
