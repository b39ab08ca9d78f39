// Rounds rows of activations to int8 in blocks of 32 and lays them out as a panel (quant_args.h).
#include "kernels/kernels.h"
#include "kernels/quant_args.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

constexpr int kVectors = kQuantBlock / kLanes;

typedef int8_t ByteVec __attribute__((vector_size(kLanes)));

// Bits of magnitudes are ordered as the magnitudes are, infinity and NaN last: a block with either gets it as
// its scale, and so do the outputs.
static inline float largest_magnitude(const Vec (&x)[kVectors]) {
  IntVec most = (IntVec)bits(abs(x[0]));
  for (int i = 1; i < kVectors; ++i) {
    const IntVec next = (IntVec)bits(abs(x[i]));
    most = next > most ? next : most;
  }
#if defined(__AVX512F__)
  const int32_t all = _mm512_reduce_max_epi32((__m512i)most);
#elif defined(__AVX2__)
  __m128i half =
      _mm_max_epi32(_mm256_castsi256_si128((__m256i)most), _mm256_extracti128_si256((__m256i)most, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  const int32_t all = _mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
#else
  int32_t all = most[0];
  for (int i = 1; i < kLanes; ++i) all = most[i] > all ? most[i] : all;
#endif
  float largest;
  __builtin_memcpy(&largest, &all, sizeof largest);
  return largest;
}

static inline int32_t sum_of(const int8_t* q, int n) {
#if defined(__AVX2__)
  // q + 128 as unsigned bytes, added up against zero.
  const __m128i flip = _mm_set1_epi8(-128);
  __m128i sums = _mm_sad_epu8(_mm_xor_si128(_mm_loadu_si128((const __m128i*)q), flip), _mm_setzero_si128());
  if (n == 32) {
    const __m128i upper = _mm_xor_si128(_mm_loadu_si128((const __m128i*)(q + 16)), flip);
    sums = _mm_add_epi32(sums, _mm_sad_epu8(upper, _mm_setzero_si128()));
  }
  return _mm_cvtsi128_si32(sums) + _mm_extract_epi32(sums, 2) - 128 * n;
#else
  int32_t sum = 0;
  for (int i = 0; i < n; ++i) sum += q[i];
  return sum;
#endif
}

static inline void put_float(int32_t* to, float x) {
  __builtin_memcpy(to, &x, sizeof x);
}

// The bytes of one block: q, or its high and low parts.
struct Codes {
  bool wide;
  int8_t q[2 * kQuantBlock] __attribute__((aligned(32)));

  void put(int part, int first, IntVec values) {
    int8_t* const to = q + part * kQuantBlock + first;
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8((__m512i)values));
#else
    const ByteVec narrow = __builtin_convertvector(values, ByteVec);
    __builtin_memcpy(to, &narrow, sizeof narrow);
#endif
  }
  int32_t sum(int first, int n) const {
    const int32_t of_q = sum_of(q + first, n);
    return wide ? of_q * (1 << kWideShift) + sum_of(q + kQuantBlock + first, n) : of_q;
  }
};

// Minus the sum and scale times the sum of n values.
static inline void put_sums(int32_t sum, float scale, int columns, int32_t* to) {
  to[0] = -sum;
  put_float(to + columns, scale * static_cast<float>(sum));
}

static inline void quantize_block(const float* from, const QuantPanel& p, int column, int32_t* to) {
  constexpr float kTiny = 1e-30f;  // below it the inverse is not a number any more: the block counts as zero
  Vec x[kVectors];
  for (int i = 0; i < kVectors; ++i) x[i] = load(from + i * kLanes);
  const float largest = largest_magnitude(x);
  const float most = p.form.wide ? 127.0f * (1 << kWideShift) : 127.0f;
  const float scale = largest < kTiny ? 0.0f : largest / most;
  const float inverse = largest < kTiny ? 0.0f : most / largest;
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, half to even
  Codes codes{.wide = p.form.wide};
  for (int i = 0; i < kVectors; ++i) {
    const IntVec rounded = (IntVec)bits(x[i] * inverse + magic) - (IntVec)bits(magic);
    if (p.form.wide) {
      const IntVec high = (rounded + (1 << kWideShift) / 2) >> kWideShift;
      codes.put(0, i * kLanes, high);
      codes.put(1, i * kLanes, rounded - (high << kWideShift));
    } else {
      codes.put(0, i * kLanes, rounded);
    }
  }
  const int columns = p.columns;
  const int64_t words = code_words(p.form);
  for (int64_t g = 0; g < words; ++g) __builtin_memcpy(to + g * columns + column, codes.q + 4 * g, 4);
  to += words * columns + column;
  put_float(to, scale);
  put_sums(codes.sum(0, 32), scale, columns, to + columns);
  if (!p.form.halves) return;
  put_sums(codes.sum(0, 16), scale, columns, to + 3 * columns);
  put_sums(codes.sum(16, 16), scale, columns, to + 5 * columns);
}

}  // namespace

void quantize_rows(const QuantPanel& p) {
  const int64_t words = panel_words(p.form);
  for (int c = 0; c < p.columns; ++c) {
    const float* from = p.x + (p.index ? p.index[c] : c) * p.x_row;
    for (int64_t b = 0; b < p.in / kQuantBlock; ++b)
      quantize_block(from + b * kQuantBlock, p, c, p.to + b * words * p.columns);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
