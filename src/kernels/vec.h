// Vec: a vector of floats of the instruction set that this file is compiled for, so that kernel bodies are
// written once. Built on the compiler's vector types: a + b, a * b, a < b, mask ? a : b work on Vec (clang
// and gcc), and the functions below add what they lack. Everything has internal linkage, in the target's own
// namespace: a body compiled for AVX-512 must never be the copy that the linker keeps for all (ctest
// kernels_odr). kFusedMultiply says whether fma() rounds once; the scalar target rounds twice.
#pragma once

#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef KERNEL_TARGET
#error \
    "vec.h belongs to kernel bodies, which are compiled with KERNEL_TARGET set to the instruction set's name"
#endif

namespace frugal::kernels::KERNEL_TARGET {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
#if defined(__FMA__) || defined(__aarch64__)
constexpr bool kFusedMultiply = true;
#else
constexpr bool kFusedMultiply = false;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntVec
    __attribute__((vector_size(4 * kLanes)));  // also the type of a < b: all ones where true
typedef uint32_t BitVec __attribute__((vector_size(4 * kLanes)));
typedef uint16_t HalfVec __attribute__((vector_size(2 * kLanes)));

static inline Vec zero() {
  return Vec{};
}
static inline Vec broadcast(float x) {
  return x - Vec{};
}  // x - 0 keeps the sign of zero
static inline IntVec broadcast_int(int32_t x) {
  return x - IntVec{};
}

static inline Vec load(const float* from) {
  Vec x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}
static inline void store(float* to, Vec x) {
  __builtin_memcpy(to, &x, sizeof x);
}

// The first n lanes, 0 <= n <= kLanes (other lanes are 0 when loaded); touches no memory beyond them.
#if defined(__AVX512F__)
static inline __mmask16 first_lanes(int n) {
  return static_cast<__mmask16>(_bzhi_u32(0xffff, static_cast<uint32_t>(n)));
}
static inline Vec load_first(const float* from, int n) {
  return (Vec)_mm512_maskz_loadu_ps(first_lanes(n), from);
}
static inline void store_first(float* to, Vec x, int n) {
  _mm512_mask_storeu_ps(to, first_lanes(n), (__m512)x);
}
#elif defined(__AVX2__)
static inline __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline Vec load_first(const float* from, int n) {
  return (Vec)_mm256_maskload_ps(from, first_lanes(n));
}
static inline void store_first(float* to, Vec x, int n) {
  _mm256_maskstore_ps(to, first_lanes(n), (__m256)x);
}
#else
static inline Vec load_first(const float* from, int n) {
  Vec x = zero();
  for (int i = 0; i < n; ++i) x[i] = from[i];
  return x;
}
static inline void store_first(float* to, Vec x, int n) {
  for (int i = 0; i < n; ++i) to[i] = x[i];
}
#endif

// a * b + c. max and min return b when either is NaN. sqrt is correctly rounded; rsqrt is 1 / sqrt, two
// roundings.
#if defined(__AVX512F__)
static inline Vec fma(Vec a, Vec b, Vec c) {
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline Vec max(Vec a, Vec b) {
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
}
static inline Vec min(Vec a, Vec b) {
  return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
}
static inline Vec sqrt(Vec a) {
  return (Vec)_mm512_sqrt_ps((__m512)a);
}
#elif defined(__AVX2__)
static inline Vec fma(Vec a, Vec b, Vec c) {
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
static inline Vec max(Vec a, Vec b) {
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
}
static inline Vec min(Vec a, Vec b) {
  return (Vec)_mm256_min_ps((__m256)a, (__m256)b);
}
static inline Vec sqrt(Vec a) {
  return (Vec)_mm256_sqrt_ps((__m256)a);
}
#else
#if defined(__aarch64__)
static inline Vec fma(Vec a, Vec b, Vec c) {
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#else
static inline Vec fma(Vec a, Vec b, Vec c) {
  return a * b + c;
}
#endif
static inline Vec max(Vec a, Vec b) {
  return a > b ? a : b;
}
static inline Vec min(Vec a, Vec b) {
  return a < b ? a : b;
}
static inline Vec sqrt(Vec a) {
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
#endif
static inline Vec rsqrt(Vec a) {
  return 1.0f / sqrt(a);
}

// Same bits, other type.
static inline BitVec bits(Vec a) {
  return (BitVec)a;
}
static inline Vec from_bits(BitVec a) {
  return (Vec)a;
}
static inline Vec abs(Vec a) {
  return from_bits(bits(a) & 0x7fffffffu);
}

// Lanes combined in a fixed order: halves folded onto each other until one lane is left.
#if defined(__AVX2__)
static inline __m128 fold_add(__m256 a) {
  return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}
static inline __m128 fold_max(__m256 a) {
  return _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}
#if defined(__AVX512F__)
static inline __m128 fold_add(__m512 a) {
  return fold_add(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
static inline __m128 fold_max(__m512 a) {
  return fold_max(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
#endif
static inline float reduce_add(Vec a) {
  __m128 x = fold_add(a);
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
static inline float reduce_max(Vec a) {
  __m128 x = fold_max(a);
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
#else
static inline float reduce_add(Vec a) {
  return (a[0] + a[2]) + (a[1] + a[3]);
}
static inline float reduce_max(Vec a) {
  const float even = a[0] > a[2] ? a[0] : a[2], odd = a[1] > a[3] ? a[1] : a[3];
  return even > odd ? even : odd;
}
#endif

// bf16: widening is exact; narrowing rounds to nearest even and keeps NaN a (quiet) NaN.
static inline Vec widen(HalfVec a) {
#if defined(__AVX512F__)
  return from_bits((BitVec)_mm512_cvtepu16_epi32((__m256i)a) << 16);
#elif defined(__AVX2__)
  return from_bits((BitVec)_mm256_cvtepu16_epi32((__m128i)a)
                   << 16);  // gcc 12 makes five instructions of the next
#else
  return from_bits(__builtin_convertvector(a, BitVec) << 16);
#endif
}
static inline HalfVec narrow(Vec a) {
  const BitVec x = bits(a);
  const BitVec rounded = x + 0x7fffu + ((x >> 16) & 1u);
  return __builtin_convertvector((a == a ? rounded : (x | 0x400000u)) >> 16, HalfVec);
}
static inline Vec load(const uint16_t* from) {
  HalfVec x;
  __builtin_memcpy(&x, from, sizeof x);
  return widen(x);
}
static inline void store(uint16_t* to, Vec a) {
  const HalfVec x = narrow(a);
  __builtin_memcpy(to, &x, sizeof x);
}
static inline Vec load_first(const uint16_t* from, int n) {
#if defined(__AVX512F__)
  return widen((HalfVec)_mm256_maskz_loadu_epi16(first_lanes(n), from));
#else
  HalfVec x = {};
  __builtin_memcpy(&x, from, sizeof(uint16_t) * static_cast<size_t>(n));
  return widen(x);
#endif
}
static inline void store_first(uint16_t* to, Vec a, int n) {
  const HalfVec x = narrow(a);
#if defined(__AVX512F__)
  _mm256_mask_storeu_epi16(to, first_lanes(n), (__m256i)x);
#else
  __builtin_memcpy(to, &x, sizeof(uint16_t) * static_cast<size_t>(n));
#endif
}

// e^x = 2^n p, x = n ln2 + r, |r| <= ln2 / 2, p a polynomial in r. n is in the low bits of `shifted`.
constexpr float kExpMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
static inline Vec exp_fraction(Vec x, Vec& shifted) {
  shifted = fma(x, broadcast(1.44269504088896341f), broadcast(kExpMagic));
  const Vec n = shifted - kExpMagic;
  Vec r = fma(n, broadcast(-0.693145751953125f), x);  // ln2 in two parts: n * the first is exact
  r = fma(n, broadcast(-1.42860682030941723e-6f), r);
  Vec p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  return fma(p, r * r, r) + 1.0f;
}

// e^x within 2 ulp. 0 below -104, +inf above 88.73, NaN for NaN. 2^n in two steps so that results may be
// subnormal.
static inline Vec exp(Vec x) {
  x = max(broadcast(-105.0f), min(broadcast(89.0f), x));  // NaN passes both: it is the second operand
  Vec shifted;
  const Vec p = exp_fraction(x, shifted);
  const IntVec exponent = (IntVec)bits(shifted) - (IntVec)bits(broadcast(kExpMagic));
  const IntVec half = exponent >> 1;
  return p * from_bits((BitVec)((half + 127) << 23)) * from_bits((BitVec)((exponent - half + 127) << 23));
}

// e^x for x <= 0, or above it by rounding only: cheaper. Within 2 ulp, but 0 below -87.33, so never
// subnormal.
static inline Vec exp_nonpositive(Vec x) {
  const float kLeast = -87.33f;
  Vec shifted;
  const Vec p = exp_fraction(max(broadcast(kLeast), x), shifted);
  const BitVec scaled = bits(p) + (bits(shifted) << 23);
  return from_bits(scaled & (BitVec) ~(x < kLeast));
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
