// Loads for kernels whose lanes are rows of weights: lane r of a vector belongs to row r, `stride` bytes from
// row r - 1.
#pragma once

#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// 16 bytes of each row as four vectors of 32-bit words.
#if defined(__AVX512F__)
static inline __m512i load_lanes(const uint8_t* from, int64_t stride) {
  __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)from));
  x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i*)(from + 4 * stride)), 1);
  x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i*)(from + 8 * stride)), 2);
  return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i*)(from + 12 * stride)), 3);
}
static inline void load_words(const uint8_t* from, int64_t stride, IntVec (&to)[4]) {
  const __m512i a = load_lanes(from, stride), b = load_lanes(from + stride, stride),
                c = load_lanes(from + 2 * stride, stride), d = load_lanes(from + 3 * stride, stride);
  const __m512i ab = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
  const __m512i cd = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
  to[0] = (IntVec)_mm512_unpacklo_epi64(ab, cd);
  to[1] = (IntVec)_mm512_unpackhi_epi64(ab, cd);
  to[2] = (IntVec)_mm512_unpacklo_epi64(ab_high, cd_high);
  to[3] = (IntVec)_mm512_unpackhi_epi64(ab_high, cd_high);
}
#elif defined(__AVX2__)
static inline __m256i load_lanes(const uint8_t* from, int64_t stride) {
  const __m256i x = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)from));
  return _mm256_inserti128_si256(x, _mm_loadu_si128((const __m128i*)(from + 4 * stride)), 1);
}
static inline void load_words(const uint8_t* from, int64_t stride, IntVec (&to)[4]) {
  const __m256i a = load_lanes(from, stride), b = load_lanes(from + stride, stride),
                c = load_lanes(from + 2 * stride, stride), d = load_lanes(from + 3 * stride, stride);
  const __m256i ab = _mm256_unpacklo_epi32(a, b), ab_high = _mm256_unpackhi_epi32(a, b);
  const __m256i cd = _mm256_unpacklo_epi32(c, d), cd_high = _mm256_unpackhi_epi32(c, d);
  to[0] = (IntVec)_mm256_unpacklo_epi64(ab, cd);
  to[1] = (IntVec)_mm256_unpackhi_epi64(ab, cd);
  to[2] = (IntVec)_mm256_unpacklo_epi64(ab_high, cd_high);
  to[3] = (IntVec)_mm256_unpackhi_epi64(ab_high, cd_high);
}
#else
static inline void load_words(const uint8_t* from, int64_t stride, IntVec (&to)[4]) {
  for (int r = 0; r < kLanes; ++r) {
    int32_t words[4];
    __builtin_memcpy(words, from + r * stride, sizeof words);
    for (int i = 0; i < 4; ++i) to[i][r] = words[i];
  }
}
#endif

// 4 bytes of each row.
static inline int32_t load_word_of(const uint8_t* from) {
  int32_t x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}
#if defined(__AVX2__)
static inline __m128i load_four_words(const uint8_t* from, int64_t stride) {
  return _mm_setr_epi32(load_word_of(from), load_word_of(from + stride), load_word_of(from + 2 * stride),
                        load_word_of(from + 3 * stride));
}
static inline __m256i load_eight_words(const uint8_t* from, int64_t stride) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load_four_words(from, stride)),
                                 load_four_words(from + 4 * stride, stride), 1);
}
#endif
static inline IntVec load_word(const uint8_t* from, int64_t stride) {
#if defined(__AVX512F__)
  return (IntVec)_mm512_inserti64x4(_mm512_castsi256_si512(load_eight_words(from, stride)),
                                    load_eight_words(from + 8 * stride, stride), 1);
#elif defined(__AVX2__)
  return (IntVec)load_eight_words(from, stride);
#else
  IntVec x;
  for (int r = 0; r < kLanes; ++r) x[r] = load_word_of(from + r * stride);
  return x;
#endif
}

// The f16 in the lower 16 bits of each lane; what lies above them does not matter.
static inline Vec half_to_float(IntVec x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)x));
#elif defined(__AVX2__)
  const __m256i low = _mm256_and_si256((__m256i)x, _mm256_set1_epi32(0xffff));
  return (Vec)_mm256_cvtph_ps(
      _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
#else
  const BitVec b = (BitVec)x & 0xffffu;
  const BitVec sign = (b & 0x8000u) << 16, rest = b & 0x7fffu, exponent = rest >> 10;
  const BitVec normal = (rest << 13) + (112u << 23);
  const BitVec small = bits(__builtin_convertvector(rest, Vec) * 0x1p-24f);
  const BitVec special = 0x7f800000u | (rest << 13);
  return from_bits(sign | (exponent == 0u ? small : exponent == 31u ? special : normal));
#endif
}

static inline Vec to_float(IntVec x) {
  return __builtin_convertvector(x, Vec);
}
// Byte i of every lane, as an unsigned or a signed number.
static inline IntVec byte_of(IntVec x, int i) {
  return (x >> (8 * i)) & 255;
}
static inline IntVec signed_byte_of(IntVec x, int i) {
  return (x << (24 - 8 * i)) >> 24;
}

// Every byte of x, which is below 16, replaced by its entry of the table.
static inline IntVec look_up(const uint8_t (&table)[16], IntVec x) {
#if defined(__AVX512F__)
  const __m512i wide = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table));
  return (IntVec)_mm512_shuffle_epi8(wide, (__m512i)x);
#elif defined(__AVX2__)
  const __m256i wide = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)table));
  return (IntVec)_mm256_shuffle_epi8(wide, (__m256i)x);
#else
  uint8_t b[4 * kLanes];
  __builtin_memcpy(b, &x, sizeof b);
  for (uint8_t& code : b) code = table[code & 15];
  __builtin_memcpy(&x, b, sizeof x);
  return x;
#endif
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
