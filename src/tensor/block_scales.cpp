#include "tensor/block_scales.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tensor/formats/fit.h"

namespace frugal {

Shape factor_shape(const Shape& matrix, int64_t block_rows, int64_t block_cols) {
  CHECK(matrix.size() == 2 && block_rows > 0 && block_cols > 0);
  return {(matrix[0] + block_rows - 1) / block_rows, (matrix[1] + block_cols - 1) / block_cols};
}

void decode_scaled_rows(const Tensor& matrix, int64_t begin, int64_t end, float* to) {
  const BlockScales& s = *matrix.scales();
  const Format &codes = matrix.format(), &factor = s.factors.format();
  const int64_t width = matrix.cols(), blocks = s.factors.cols();
  std::vector<float> factors(static_cast<size_t>(blocks));
  int64_t held = -1;
  for (int64_t r = begin; r < end; ++r, to += width) {
    const int64_t row = r * s.row_step, wanted = row / s.rows;
    codes.decode(matrix.data() + codes.bytes(row * width), to, width);
    if (wanted != held)
      factor.decode(s.factors.data() + factor.bytes(wanted * blocks), factors.data(), blocks);
    held = wanted;
    for (int64_t b = 0; b < blocks; ++b) {
      const float f = factors[static_cast<size_t>(b)];
      for (int64_t c = b * s.cols; c < std::min(width, (b + 1) * s.cols); ++c) to[c] *= f;
    }
  }
}

namespace {
constexpr int64_t kMxBlock = 32;
}

bool is_split_mxfp4(const Tensor& matrix) {
  const BlockScales* s = matrix.scales();
  return s != nullptr && &matrix.format() == &formats::f4_e2m1 && &s->factors.format() == &formats::f8_e8m0 &&
         s->rows == 1 && s->cols == kMxBlock && matrix.cols() % kMxBlock == 0;
}

void pack_mxfp4(const Tensor& matrix, int64_t begin, int64_t end, std::byte* to) {
  CHECK(is_split_mxfp4(matrix) && matrix.allocated() && begin >= 0 && end <= matrix.rows());
  const BlockScales& s = *matrix.scales();
  const int64_t blocks = s.factors.cols();
  for (int64_t r = begin; r < end; ++r) {
    const std::byte* codes = matrix.data() + r * s.row_step * blocks * (kMxBlock / 2);
    const std::byte* exponents = s.factors.data() + r * s.row_step * blocks;
    for (int64_t b = 0; b < blocks; ++b) {
      uint8_t q[kMxBlock];
      for (int j = 0; j < kMxBlock / 2; ++j, ++codes) {
        q[2 * j] = static_cast<uint8_t>(formats::low_nibble(*codes));
        q[2 * j + 1] = static_cast<uint8_t>(formats::high_nibble(*codes));
      }
      *to++ = exponents[b];
      formats::pack_nibbles(q, to);
      to += kMxBlock / 2;
    }
  }
}

void fp8_band(const float* x, int64_t rows, int64_t cols, int64_t block_cols, float* factors,
              std::byte* codes) {
  constexpr float kLargest = 448;
  std::vector<float> scaled(static_cast<size_t>(std::min(cols, block_cols)));
  for (int64_t col = 0; col < cols; col += block_cols) {
    const int64_t width = std::min(block_cols, cols - col);
    float largest = 0;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < width; ++c) largest = std::max(largest, std::fabs(x[r * cols + col + c]));
    }
    const float factor = largest > 0 ? std::max(largest / kLargest, 0x1p-126f) : 1.0f;
    factors[col / block_cols] = factor;
    for (int64_t r = 0; codes != nullptr && r < rows; ++r) {
      for (int64_t c = 0; c < width; ++c) scaled[static_cast<size_t>(c)] = x[r * cols + col + c] / factor;
      formats::f8_e4m3.encode(scaled.data(), codes + r * cols + col, width);
    }
  }
}

Tensor fp8_with_scales(const Context& ctx, const Tensor& matrix, int64_t block_rows, int64_t block_cols) {
  const int64_t rows = matrix.dim(0), cols = matrix.cols();
  Tensor codes = Tensor::empty(ctx, matrix.shape(), formats::f8_e4m3);
  Tensor factors = Tensor::empty(ctx, factor_shape(matrix.shape(), block_rows, block_cols));
  if (!ctx.dry_run()) {
    ctx.pool.parallel_for(factors.rows(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t band = begin; band < end; ++band) {
        const int64_t row = band * block_rows, at = row * cols;
        fp8_band(matrix.f32() + at, std::min(block_rows, rows - row), cols, block_cols,
                 factors.f32() + band * factors.cols(), codes.data() + at);
      }
    });
  }
  return codes.with_scales(BlockScales{factors, block_rows, block_cols});
}

}  // namespace frugal
