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

namespace {

struct Window {
  int64_t row, row_end, col, col_end;
};

float largest_magnitude(const float* x, int64_t width, const Window& w) {
  float largest = 0;
  for (int64_t r = w.row; r < w.row_end; ++r) {
    for (int64_t c = w.col; c < w.col_end; ++c) largest = std::max(largest, std::fabs(x[r * width + c]));
  }
  return largest;
}

void encode_window(const float* x, int64_t width, const Window& w, float factor, std::byte* to) {
  std::vector<float> scaled(static_cast<size_t>(w.col_end - w.col));
  for (int64_t r = w.row; r < w.row_end; ++r) {
    for (size_t c = 0; c < scaled.size(); ++c) {
      scaled[c] = x[r * width + w.col + static_cast<int64_t>(c)] / factor;
    }
    formats::f8_e4m3.encode(scaled.data(), to + r * width + w.col, w.col_end - w.col);
  }
}

}  // namespace

Tensor fp8_with_scales(const Context& ctx, const Tensor& matrix, int64_t block_rows, int64_t block_cols) {
  constexpr float kLargest = 448;
  const int64_t rows = matrix.dim(0), cols = matrix.cols();
  Tensor codes = Tensor::empty(ctx, matrix.shape(), formats::f8_e4m3);
  Tensor factors = Tensor::empty(ctx, factor_shape(matrix.shape(), block_rows, block_cols));
  if (!ctx.dry_run()) {
    const float* x = matrix.f32();
    ctx.pool.parallel_for(factors.size(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t r = i / factors.cols() * block_rows, c = i % factors.cols() * block_cols;
        const Window window{r, std::min(rows, r + block_rows), c, std::min(cols, c + block_cols)};
        const float largest = largest_magnitude(x, cols, window);
        const float factor = largest > 0 ? std::max(largest / kLargest, 0x1p-126f) : 1.0f;
        factors.f32()[i] = factor;
        encode_window(x, cols, window, factor, codes.data());
      }
    });
  }
  return codes.with_scales(BlockScales{factors, block_rows, block_cols});
}

}  // namespace frugal
