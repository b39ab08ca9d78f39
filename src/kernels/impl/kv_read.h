// Cached keys and values read as vectors of floats, whatever their type. Decoding is exact.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// The f16 at `from`. Without hardware: the bits moved into place and multiplied by the difference of the
// exponents' biases, exact for every finite number.
static inline Vec broadcast_half(const char* from) {
  uint16_t half;
  __builtin_memcpy(&half, from, sizeof half);
#if defined(__AVX512F__)
  return (Vec)_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(half)));
#elif defined(__F16C__)
  return (Vec)_mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(half)));
#else
  const uint32_t magnitude = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
  float x;
  __builtin_memcpy(&x, &magnitude, sizeof x);
  x *= 0x1p112f;
  uint32_t all;
  __builtin_memcpy(&all, &x, sizeof x);
  all |= sign;
  __builtin_memcpy(&x, &all, sizeof x);
  return broadcast(x);
#endif
}

static inline Vec load_bytes(const char* from) {
#if defined(__AVX512F__)
  __m128i bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
#elif defined(__AVX2__)
  int64_t bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return (Vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes)));
#else
  typedef int8_t Bytes __attribute__((vector_size(kLanes)));
  Bytes bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, Vec);
#endif
}

#if !defined(__AVX512F__)
// The low or high halves of kLanes bytes, less 8.
static inline Vec load_nibbles(const char* from, bool high) {
#if defined(__AVX2__)
  int64_t bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes));
  const __m256i value = high ? _mm256_srli_epi32(wide, 4) : _mm256_and_si256(wide, _mm256_set1_epi32(15));
  return (Vec)_mm256_cvtepi32_ps(_mm256_sub_epi32(value, _mm256_set1_epi32(8)));
#else
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  Bytes bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  const IntVec wide = __builtin_convertvector(bytes, IntVec);
  return __builtin_convertvector((high ? wide >> 4 : wide & 15) - 8, Vec);
#endif
}
#endif

// Values [part, part + kLanes) of the q8_0 block at `block`.
static inline Vec read_q8(const char* block, int part) {
  return load_bytes(block + 2 + part) * broadcast_half(block);
}

// Reads a row kStep values at a time, as kParts vectors, from a position that is a multiple of kStep.
// read_first: what is left of a row, fewer than kLanes values.
template <KvType kType>
struct KvRow {
  static constexpr int kStep = kLanes, kParts = 1, kBlockBytes = 4 * kQ8Values;
  static inline void read(const char* row, int64_t at, Vec* to) {
    to[0] = load(reinterpret_cast<const float*>(row) + at);
  }
  static inline Vec read_first(const char* row, int64_t at, int n) {
    return load_first(reinterpret_cast<const float*>(row) + at, n);
  }
};
template <>
struct KvRow<KvType::bf16> {
  static constexpr int kStep = kLanes, kParts = 1, kBlockBytes = 2 * kQ8Values;
  static inline void read(const char* row, int64_t at, Vec* to) {
    to[0] = load(reinterpret_cast<const uint16_t*>(row) + at);
  }
  static inline Vec read_first(const char* row, int64_t at, int n) {
    return load_first(reinterpret_cast<const uint16_t*>(row) + at, n);
  }
};
template <>
struct KvRow<KvType::q8_0> {
  static constexpr int kStep = kQ8Values, kParts = kQ8Values / kLanes, kBlockBytes = kQ8Bytes;
  static inline void read(const char* row, int64_t at, Vec* to) {
    const char* block = row + at / kQ8Values * kQ8Bytes;
    const Vec scale = broadcast_half(block);
#pragma GCC unroll 8
    for (int i = 0; i < kParts; ++i) to[i] = load_bytes(block + 2 + i * kLanes) * scale;
  }
  static inline Vec read_first(const char*, int64_t, int) {
    return zero();
  }  // rows are whole blocks
};

template <>
struct KvRow<KvType::q4_0> {
  static constexpr int kStep = kQ8Values, kParts = kQ8Values / kLanes, kBlockBytes = kQ4Bytes;
  static inline void read(const char* row, int64_t at, Vec* to) {
    const char* block = row + at / kQ8Values * kQ4Bytes;
    const Vec scale = broadcast_half(block);
#if defined(__AVX512F__)
    // The block's sixteen values, looked up: the instruction sees the lowest four bits of a lane alone.
    const __m512 values = (__m512)((Vec){-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7} * scale);
    __m128i bytes;
    __builtin_memcpy(&bytes, block + 2, sizeof bytes);
    const __m512i wide = _mm512_cvtepu8_epi32(bytes);
    to[0] = (Vec)_mm512_permutexvar_ps(wide, values);
    to[1] = (Vec)_mm512_permutexvar_ps(_mm512_srli_epi32(wide, 4), values);
#else
#pragma GCC unroll 8
    for (int i = 0; i < kParts; ++i) {  // low halves of the 16 bytes, then high ones
      const int byte = i * kLanes % 16;
      to[i] = load_nibbles(block + 2 + byte, i * kLanes >= 16) * scale;
    }
#endif
  }
  static inline Vec read_first(const char*, int64_t, int) {
    return zero();
  }
};

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
