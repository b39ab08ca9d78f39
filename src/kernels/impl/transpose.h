// A square of kLanes rows of kLanes floats, transposed in registers.
#pragma once

#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

#if defined(__AVX512F__)
static inline void transpose(Vec (&rows)[kLanes]) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps((__m512)rows[i], (__m512)rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps((__m512)rows[i], (__m512)rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // b[i + c]: in each 128-bit lane l, column 4 l + c of rows i .. i + 3
    b[i] = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512 even_top = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88);  // lanes 0, 2 of rows 0-3 and 4-7
    const __m512 odd_top = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
    const __m512 even_end = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88);
    const __m512 odd_end = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
    rows[c] = (Vec)_mm512_shuffle_f32x4(even_top, even_end, 0x88);
    rows[4 + c] = (Vec)_mm512_shuffle_f32x4(odd_top, odd_end, 0x88);
    rows[8 + c] = (Vec)_mm512_shuffle_f32x4(even_top, even_end, 0xdd);
    rows[12 + c] = (Vec)_mm512_shuffle_f32x4(odd_top, odd_end, 0xdd);
  }
}
#elif defined(__AVX2__)
static inline void transpose(Vec (&rows)[kLanes]) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps((__m256)rows[i], (__m256)rows[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps((__m256)rows[i], (__m256)rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
  for (int c = 0; c < 4; ++c) {
    rows[c] = (Vec)_mm256_permute2f128_ps(b[c], b[4 + c], 0x20);
    rows[4 + c] = (Vec)_mm256_permute2f128_ps(b[c], b[4 + c], 0x31);
  }
}
#else
static inline void transpose(Vec (&rows)[kLanes]) {
  const Vec a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const Vec b = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const Vec c = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const Vec d = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  rows[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  rows[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  rows[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}
#endif

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
