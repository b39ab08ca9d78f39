// Factors that lie beside a matrix, one for each block of its rows and columns: value (r, c) is what is
// stored times factors(r / rows, c / cols). DeepSeek-V3 publishes FP8 weights so: 128 x 128 blocks, factors
// in `NAME_scale_inv`.
#pragma once

#include "tensor/tensor.h"

namespace frugal {

struct BlockScales {
  Tensor factors;  // (ceil(R / rows), ceil(C / cols)) f32
  int64_t rows = 128, cols = 128;
};

// The shape that factors of a (rows, cols) matrix have.
Shape factor_shape(const Shape& matrix, int64_t block_rows, int64_t block_cols);

// A f32 matrix as FP8 E4M3 with factors: the largest magnitude of each block becomes 448, E4M3's largest.
Tensor fp8_with_scales(const Context& ctx, const Tensor& matrix, int64_t block_rows = 128,
                       int64_t block_cols = 128);

}  // namespace frugal
