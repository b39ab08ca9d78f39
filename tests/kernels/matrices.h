// Random matrices with chosen layouts, padding and misalignment, and the product in double to compare with.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "core/rng.h"
#include "kernels/kernels.h"

namespace frugal::kernels {

inline float from_bf16(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float y = 0;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

inline float rounded_to_bf16(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return from_bf16(static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16));
}

// rows x cols values in [-1, 1): by rows, or the transposed lies by rows; `padding` elements between lines
// and `offset` elements before the first, all NaN, so that reading one is seen.
struct Matrix {
  Matrix(int64_t rows_, int64_t cols_, bool by_rows, Element type_, int64_t padding, int64_t offset_,
         Rng& rng)
      : rows(rows_), cols(cols_), type(type_), offset(offset_) {
    row = by_rows ? cols + padding : 1;
    col = by_rows ? 1 : rows + padding;
    const auto size = static_cast<size_t>(offset + (by_rows ? rows * row : cols * col));
    f32.assign(size, NAN);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) at(i, j) = static_cast<float>(rng.bits()) * 0x1p-31f - 1.0f;
    }
    if (type == Element::f32) return;
    bf16.assign(size, 0x7fc0);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        at(i, j) = rounded_to_bf16(at(i, j));
        uint32_t bits = 0;
        std::memcpy(&bits, &at(i, j), sizeof bits);
        bf16[static_cast<size_t>(offset + i * row + j * col)] = static_cast<uint16_t>(bits >> 16);
      }
    }
  }
  float& at(int64_t i, int64_t j) { return f32[static_cast<size_t>(offset + i * row + j * col)]; }
  float at(int64_t i, int64_t j) const { return f32[static_cast<size_t>(offset + i * row + j * col)]; }
  const void* data() const {
    if (type == Element::bf16) return bf16.data() + offset;
    return f32.data() + offset;
  }

  int64_t rows, cols, row = 0, col = 0;
  Element type;
  int64_t offset;
  std::vector<float> f32;
  std::vector<uint16_t> bf16;
};

}  // namespace frugal::kernels
