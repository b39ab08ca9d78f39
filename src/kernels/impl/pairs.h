// Pairs of bf16: two neighbours along an inner dimension in 32 bits, the first in the lower half, which the
// machine multiplies and adds to an f32 in one instruction. Its instructions round to nearest even and take
// what is too small for a normal number as 0, as the product does.
#pragma once

#include "kernels/vec.h"

#if defined(__AVX512BF16__)
namespace frugal::kernels::KERNEL_TARGET {
namespace {

// sum + a.first * b.first + a.second * b.second
static inline Vec multiply_add_pairs(Vec a, Vec b, Vec sum) {
  return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

static inline HalfVec rounded_halves(Vec x) {
  return (HalfVec)_mm512_cvtneps_pbh((__m512)x);
}
static inline void store_halves(uint16_t* to, Vec x) {
  const HalfVec halves = rounded_halves(x);
  __builtin_memcpy(to, &halves, sizeof halves);
}

// Pairs of numbers that are neighbours in memory: `first` is followed by `second`.
static inline Vec adjacent_pairs(Vec first, Vec second) {
  return (Vec)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
// Pairs of a lane of `even` and the same lane of `odd`.
static inline Vec interleaved_pairs(Vec even, Vec odd) {
  IntVec order;
  for (int i = 0; i < kLanes; ++i) order[i] = (kLanes + i) << 16 | i;
  return (Vec)_mm512_permutexvar_epi16((__m512i)order, (__m512i)adjacent_pairs(even, odd));
}

// The first n of 2 kLanes numbers as kLanes pairs; the rest is 0.
static inline Vec load_pairs(const uint16_t* from, int64_t n) {
  if (n >= 2 * kLanes) return (Vec)_mm512_loadu_si512(from);
  return (Vec)_mm512_maskz_loadu_epi16(_bzhi_u32(~0u, static_cast<uint32_t>(n)), from);
}
static inline Vec load_pairs(const float* from, int64_t n) {
  const Vec first = n >= kLanes ? load(from) : load_first(from, static_cast<int>(n));
  const Vec second = n >= 2 * kLanes ? load(from + kLanes)
                     : n > kLanes    ? load_first(from + kLanes, static_cast<int>(n - kLanes))
                                     : zero();
  return adjacent_pairs(first, second);
}

// Pairs of the first n <= kLanes numbers of one row and the same of the next, which may be null: zeros.
static inline Vec row_pairs(const uint16_t* first, const uint16_t* second, int n) {
  const __mmask16 mask = first_lanes(n), both = second ? mask : static_cast<__mmask16>(0);
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, first)),
                high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(both, second));
  return (Vec)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
static inline Vec row_pairs(const float* first, const float* second, int n) {
  return interleaved_pairs(load_first(first, n), second ? load_first(second, n) : zero());
}

// The same of 2 kLanes numbers of two rows, written to `to`.
static inline void wide_row_pairs(const uint16_t* first, const uint16_t* second, float* to) {
  // The lower half of each word from the first row, the upper one from the second, 32 further on.
  const __m512i lower =
      _mm512_setr_epi32(0x200000, 0x210001, 0x220002, 0x230003, 0x240004, 0x250005, 0x260006, 0x270007,
                        0x280008, 0x290009, 0x2a000a, 0x2b000b, 0x2c000c, 0x2d000d, 0x2e000e, 0x2f000f);
  const __m512i upper = _mm512_add_epi16(lower, _mm512_set1_epi16(kLanes));
  const __m512i a = _mm512_loadu_si512(first), b = _mm512_loadu_si512(second);
  store(to, (Vec)_mm512_permutex2var_epi16(a, lower, b));
  store(to + kLanes, (Vec)_mm512_permutex2var_epi16(a, upper, b));
}
static inline void wide_row_pairs(const float* first, const float* second, float* to) {
  for (int i = 0; i < 2 * kLanes; i += kLanes)
    store(to + i, interleaved_pairs(load(first + i), load(second + i)));
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
#endif
