// Rotary position embedding (Su et al. 2021) in place. The row's cosines and sines are spread once, in the
// order in which vectors meet them, then used for every head.
#include "kernels/impl/loop.h"
#include "kernels/kernels.h"
#include "kernels/rowwise_args.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

constexpr int64_t kMaxPairs = 128;  // rotated at a time

// x[2i], x[2i + 1] swapped.
static inline Vec swap_pairs(Vec x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_permute_ps((__m512)x, 0xb1);
#elif defined(__AVX2__)
  return (Vec)_mm256_permute_ps((__m256)x, 0xb1);
#else
  return __builtin_shufflevector(x, x, 1, 0, 3, 2);
#endif
}

// (a, b) neighbours: x cos + swapped x * (-sin, sin).
static void rotate_interleaved(int64_t pairs, float* x, const float* cosine, const float* sine) {
  for_vectors(2 * pairs, [&](int64_t i, auto part) {
    const Vec v = get(x + i, part);
    put(x + i, fma(v, load(cosine + i), swap_pairs(v) * load(sine + i)), part);
  });
}

static void rotate_halves(int64_t pairs, float* x, float* y, const float* cosine, const float* sine) {
  for_vectors(pairs, [&](int64_t i, auto part) {
    const Vec a = get(x + i, part), b = get(y + i, part), c = load(cosine + i), s = load(sine + i);
    put(x + i, fma(a, c, b * -s), part);
    put(y + i, fma(b, c, a * s), part);
  });
}

}  // namespace

void rope_apply(const Rope& a, int64_t begin, int64_t end) {
  alignas(64) float cosine[2 * kMaxPairs + kLanes] = {}, sine[2 * kMaxPairs + kLanes] = {};
  const float sign = a.inverse ? -1.0f : 1.0f;
  const int64_t half = a.dim / 2;
  for (int64_t row = begin; row < end; ++row) {
    const float* table = a.cos_sin + a.positions[row] * a.dim;
    for (int64_t first = 0; first < half; first += kMaxPairs) {
      const int64_t pairs = half - first < kMaxPairs ? half - first : kMaxPairs;
      for (int64_t i = 0; i < pairs; ++i) {
        const float c = table[2 * (first + i)], s = sign * table[2 * (first + i) + 1];
        if (a.pairing == Pairing::interleaved) {
          cosine[2 * i] = c, cosine[2 * i + 1] = c;
          sine[2 * i] = -s, sine[2 * i + 1] = s;
        } else {
          cosine[i] = c, sine[i] = s;
        }
      }
      for (int64_t head = 0; head < a.heads; ++head) {
        float* x = a.x + row * a.row_stride + head * a.head_stride;
        if (a.pairing == Pairing::interleaved) {
          rotate_interleaved(pairs, x + 2 * first, cosine, sine);
        } else {
          rotate_halves(pairs, x + first, x + half + first, cosine, sine);
        }
      }
    }
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
