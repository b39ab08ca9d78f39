// Weighted least squares on integer grids: how block formats choose their scales. All functions minimise
// sum w (x - stored)^2 over a block by trying a fixed list of scales and solving for the best one of each
// rounding. Blocks have a multiple of 8 values, at most 256. Sums run in eight lanes: their order is fixed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace frugal::formats {

// `importance` from `at` on, or ones where there is none or nothing in the block counts.
const float* block_weights(const float* importance, int64_t at, int n);

struct Grid {
  int low, high;  // integers a value may be stored as
};

// x ~ scale * q, with q in the grid; the scale may be negative where the grid is lopsided. 0 when x is all
// zero. `spread` receives sum w q^2, the weight of an error in the scale, unless null.
float fit_scale(const float* x, const float* w, int n, Grid grid, float* spread = nullptr);

// x ~ scale * q + offset, q in 0..high, scale >= 0. Where `negative_offset` the offset is at most 0.
struct Affine {
  float scale, offset;
};
Affine fit_affine(const float* x, const float* w, int n, int high, bool negative_offset);

// sum w (x - scale q - offset)^2 with the nearest q.
float grid_error(const float* x, const float* w, int n, Grid grid, float scale, float offset);
// That q, minus grid.low.
void to_grid(const float* x, int n, Grid grid, float scale, float offset, uint8_t* q);

// The scale that f16 can hold, of the neighbours of `fit.scale` the one with the least error; the offset is
// rounded.
Affine round_to_half(const float* x, const float* w, int n, Grid grid, Affine fit);

// 32 numbers of 4 bits as 16 bytes, the first half of them in the lower halves of the bytes.
void pack_nibbles(const uint8_t* q, std::byte* to);
// The same of 32 numbers of 5 bits: their fifth bits in 4 bytes, then the nibbles.
void pack_fifth_bits(const uint8_t* q, std::byte* to);
void unpack_fifth_bits(const std::byte* from, int* q);
inline int low_nibble(std::byte b) {
  return static_cast<int>(b) & 15;
}
inline int high_nibble(std::byte b) {
  return static_cast<int>(b) >> 4;
}

}  // namespace frugal::formats
