// What the K formats of GGUF share: super-blocks of 256 values in sub-blocks whose scales (and minima) are
// small integers times one f16 for the whole super-block, and where the bits lie.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/formats/fit.h"

namespace frugal::formats {

inline constexpr int kSuperBlock = 256;

// Q2_K, Q4_K, Q5_K: value = (d scale) q - (dmin minimum).
struct AffineLayout {
  int sub_block;   // values that share a scale and a minimum
  int high;        // q in 0..high
  int scale_high;  // scale and minimum in 0..scale_high
};
struct AffineBlock {
  float d = 0, dmin = 0;
  std::array<uint8_t, 16> scale{}, minimum{};
  std::array<uint8_t, kSuperBlock> q{};
};
AffineBlock fit_affine_block(const float* x, const float* w, const AffineLayout& layout);

// Q3_K, Q6_K: value = (d scale) q, 16 values share a scale.
struct ScaledLayout {
  Grid values, scales;
};
struct ScaledBlock {
  float d = 0;
  std::array<int8_t, 16> scale{};
  std::array<uint8_t, kSuperBlock> q{};  // minus values.low
};
ScaledBlock fit_scaled_block(const float* x, const float* w, const ScaledLayout& layout);

// Eight scales and eight minima of 6 bits in 12 bytes (Q4_K, Q5_K): the first four of each whole, the others'
// lower halves in the last four bytes and their upper two bits on top of the first eight.
void pack_six_bits(const uint8_t* scale, const uint8_t* minimum, std::byte* to);
void unpack_six_bits(const std::byte* from, uint8_t* scale, uint8_t* minimum);

// 256 numbers of 2 bits in 64 bytes (Q2_K, Q3_K, upper bits of Q6_K): value 128 h + 32 s + l in bits 2 s of
// byte 32 h + l. Packing adds to what is there.
void pack_pairs(const uint8_t* q, std::byte* to);
inline int pair_at(const std::byte* from, int i) {
  return std::to_integer<int>(from[i / 128 * 32 + i % 32]) >> (i / 32 % 4 * 2) & 3;
}

// 256 numbers of 4 bits in 128 bytes (Q4_K, Q5_K): pairs of 32 share 32 bytes.
void pack_nibble_rows(const uint8_t* q, std::byte* to);

}  // namespace frugal::formats
