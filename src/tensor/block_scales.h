// Factors that lie beside a matrix, one for each block of its rows and columns: value (r, c) is what is
// stored times factors(r / rows, c / cols). DeepSeek-V3 publishes FP8 weights so: 128 x 128 blocks, factors
// in `NAME_scale_inv`; gpt-oss MXFP4 ones: blocks of 32 in a row, powers of two in `NAME_scales`.
#pragma once

#include "tensor/tensor.h"

namespace frugal {

struct BlockScales {
  Tensor factors;  // (ceil(R / rows), ceil(C / cols)), f32 or f8_e8m0
  int64_t rows = 128, cols = 128;
  // Row r is where row r * row_step would be, its factors too: one of several matrices whose rows alternate
  // in memory (gpt-oss's gate and up). Above 1 only with rows = 1.
  int64_t row_step = 1;
};

// The shape that factors of a (rows, cols) matrix have.
Shape factor_shape(const Shape& matrix, int64_t block_rows, int64_t block_cols);

// Rows [begin, end) of a matrix with factors, multiplied out: what Tensor::decode_rows does for one.
void decode_scaled_rows(const Tensor& matrix, int64_t begin, int64_t end, float* to);

// Whether the values are MXFP4's: codes f4_e2m1, an f8_e8m0 factor for each 32 of a row.
bool is_split_mxfp4(const Tensor& matrix);
// Rows [begin, end) of such a matrix as format mxfp4 stores them: the same codes and exponents.
void pack_mxfp4(const Tensor& matrix, int64_t begin, int64_t end, std::byte* to);

// Rows of one band of blocks (at most block_rows of them) as FP8 E4M3: `factors` takes one for each block of
// block_cols columns, so that its largest magnitude becomes 448, E4M3's largest; `codes` (may be null) the
// rows.
void fp8_band(const float* x, int64_t rows, int64_t cols, int64_t block_cols, float* factors,
              std::byte* codes);
// A f32 matrix as FP8 E4M3 with factors, by fp8_band().
Tensor fp8_with_scales(const Context& ctx, const Tensor& matrix, int64_t block_rows = 128,
                       int64_t block_cols = 128);

}  // namespace frugal
