#include "tensor/block_scales.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace frugal {

Shape factor_shape(const Shape& matrix, int64_t block_rows, int64_t block_cols) {
  CHECK(matrix.size() == 2 && block_rows > 0 && block_cols > 0);
  return {(matrix[0] + block_rows - 1) / block_rows, (matrix[1] + block_cols - 1) / block_cols};
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
