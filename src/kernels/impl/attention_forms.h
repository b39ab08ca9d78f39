// How a block of keys, values, queries and weights lies in scratch for the tiles: as f32, as f32 rounded to
// bf16, or as pairs of bf16 that the machine multiplies two at a time.
#pragma once

#include "kernels/impl/attention_softmax.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// `count` keys or values of a head from `from` on, those of one block. `more` keys follow, of which those of
// the next block are asked for meanwhile.
struct Stored {
  const AttentionHead& h;
  const char* from;
  int64_t count, more;
};

// A block of values in units (keys, or pairs of keys), `stride` floats apart.
struct Values {
  const float* from;
  int64_t stride;
};

struct FloatForm {
  using Unit = Single;
  static constexpr int kKeysPerUnit = 1;
  static constexpr bool kSquares = false;  // see PairForm
  static inline int64_t units(int64_t dim) { return dim; }

  static inline void pack_keys(const Stored& k, float* to) {
    const AttentionHead& h = k.h;
    if (h.kv_type == KvType::f32) {
      pack_columns(reinterpret_cast<const float*>(k.from), h.k_row, h.qk_dim, k.count, to);
    } else if (h.kv_type == KvType::bf16) {
      pack_columns(reinterpret_cast<const uint16_t*>(k.from), h.k_row, h.qk_dim, k.count, to);
    } else {
      pack_q8_columns(k.from, h.k_bytes, h.qk_dim, k.count, to);
    }
  }
  // Values that tiles can read where they are.
  static inline bool in_place(const AttentionHead& h) {
    return h.kv_type == KvType::f32 && h.v_dim == h.v_padded;
  }
  static inline void pack_values(const Stored& v, float* to) {
    const AttentionHead& h = v.h;
    if (h.kv_type == KvType::f32) {
      widen_rows(reinterpret_cast<const float*>(v.from), h.v_row, h.v_dim, v.count, to, h.v_padded);
    } else if (h.kv_type == KvType::bf16) {
      widen_rows(reinterpret_cast<const uint16_t*>(v.from), h.v_row, h.v_dim, v.count, to, h.v_padded);
    } else {
      widen_q8_rows(v.from, h.v_bytes, h.v_dim, v.count, to, h.v_padded);
    }
  }
  static inline void pack_queries(const AttentionHead& h, int64_t begin, int64_t end, float* to) {
    copy_rows(h.q, h.q_row, h.group, h.qk_dim, begin, end, to, h.qk_dim);
  }
  static inline Vec keep(float* scores, int64_t j, Vec weights) { return keep_float(scores, j, weights); }
};

// The numbers that PairForm multiplies, one at a time.
struct RoundedForm : FloatForm {
  static inline void pack_queries(const AttentionHead& h, int64_t begin, int64_t end, float* to) {
    FloatForm::pack_queries(h, begin, end, to);
    for_vectors((end - begin) * h.qk_dim,
                [&](int64_t i, auto part) { put(to + i, widen(narrow(get(to + i, part))), part); });
  }
  static inline Vec keep(float* scores, int64_t j, Vec weights) {
    return keep_float(scores, j, widen(narrow(weights)));
  }
};

#if defined(__AVX512BF16__)
// Pairs along the head's width in keys and queries, along the keys in values and weights; the second of a
// last odd one is 0. Pairs are the same for every row, because chunks begin at even keys.
struct PairForm {
  using Unit = Pair;
  static constexpr int kKeysPerUnit = 2;
  static inline int64_t units(int64_t dim) { return (dim + 1) / 2; }
  static inline bool in_place(const AttentionHead&) { return false; }

  // Few rows do not pay for transposing keys. Where they fill vectors, they are transposed instead: scores of
  // kLanes keys and kLanes rows come from keys as they lie, the same chain for each as in tiles.
  static constexpr bool kSquares = true;
  static inline bool suits_squares(const AttentionHead& h, int64_t rows) {
    constexpr int64_t kSpare = 6;  // lanes without a row cost less than transposing
    return h.qk_dim % 2 == 0 && (kLanes - rows % kLanes) % kLanes <= kSpare;
  }
  // (units, rows rounded up to vectors) behind the packed queries.
  static inline float* query_columns(float* packed, int64_t rows, int64_t depth) {
    return packed + rows * depth;
  }
  static inline void transpose_queries(const float* packed, int64_t rows, int64_t depth, float* to) {
    const int64_t stride = (rows + kLanes - 1) / kLanes * kLanes;
    for (int64_t i = 0; i < rows; i += kLanes) {
      for (int64_t d = 0; d < depth; d += kLanes) {
        const int n = static_cast<int>(smaller(kLanes, depth - d));
        Vec square[kLanes];
        transposed_rows(
            rows - i, [&](int r) { return load_first(packed + (i + r) * depth + d, n); }, square);
        for (int j = 0; j < n; ++j) store(to + (d + j) * stride + i, square[j]);
      }
    }
  }
  // Keys [first, first + kLanes) of a block, those beyond the last one repeating it, with kLanes columns of
  // queries `stride` apart: the keys of row r at to + r * kKeyChunk.
  static inline void score_square(const Stored& k, int64_t first, const float* queries, int64_t stride,
                                  int64_t rows, float* to) {
    constexpr int kKeys = kLanes / 2;  // at a time, their addresses in registers
    const int64_t depth = units(k.h.qk_dim), row = k.h.k_row;
    const auto* from = reinterpret_cast<const uint16_t*>(k.from);
    Vec square[kLanes];
    for (int half = 0; half < kLanes; half += kKeys) {
      const uint16_t* keys[kKeys];
#pragma GCC unroll 8
      for (int i = 0; i < kKeys; ++i) keys[i] = from + smaller(first + half + i, k.count - 1) * row;
      const int64_t ahead = smaller(kKeys, k.more - first - half);
      Vec sums[kKeys] = {};
      for (int64_t line = 0; line < depth; line += kLanes) {
        for (int64_t i = 0; i < ahead; ++i) {
          __builtin_prefetch(from + (kKeyBlock + first + half + i) * row + 2 * line, 0, 2);
        }
        const int64_t end = smaller(depth, line + kLanes);
        for (int64_t d = line; d < end; ++d) {
          const Vec q = load(queries + d * stride);
#pragma GCC unroll 8
          for (int i = 0; i < kKeys; ++i) {
            sums[i] =
                Pair::multiply_add(Pair::spread(reinterpret_cast<const float*>(keys[i] + 2 * d)), q, sums[i]);
          }
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < kKeys; ++i) square[half + i] = sums[i];
    }
    transpose(square);
    for (int64_t r = 0; r < smaller(kLanes, rows); ++r) store(to + r * kKeyChunk, square[r]);
  }

  static inline Vec load_pairs(const uint16_t* from, int64_t n) {
    return n >= 2 * kLanes ? (Vec)_mm512_loadu_si512(from)
                           : (Vec)_mm512_maskz_loadu_epi16(
                                 static_cast<__mmask32>(_bzhi_u32(~0u, static_cast<uint32_t>(n))), from);
  }

  static inline void pack_keys(const Stored& k, float* to) {
    const int64_t dim = k.h.qk_dim, row = k.h.k_row;
    const auto* from = reinterpret_cast<const uint16_t*>(k.from);
    for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
      const int64_t ahead = smaller(kLanes, k.more - j);
      for (int64_t d = 0; d < dim; d += 2 * kLanes) {
        Vec square[kLanes];
        for (int64_t i = 0; i < ahead; ++i) __builtin_prefetch(from + (kKeyBlock + j + i) * row + d, 0, 2);
        transposed_rows(
            k.count - j, [&](int i) { return load_pairs(from + (j + i) * row + d, dim - d); }, square);
        const int64_t n = smaller(kLanes, units(dim - d));
        if (n == kLanes) {
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i) store(to + (d / 2 + i) * kKeyBlock + j, square[i]);
        } else {
          for (int64_t i = 0; i < n; ++i) store(to + (d / 2 + i) * kKeyBlock + j, square[i]);
        }
      }
    }
  }

  static inline Vec value_pairs(const Stored& v, int64_t key, int64_t i) {
    const uint16_t* first = reinterpret_cast<const uint16_t*>(v.from) + key * v.h.v_row + i;
    const __mmask16 mask = first_lanes(static_cast<int>(larger(0, smaller(kLanes, v.h.v_dim - i))));
    const __mmask16 both = key + 1 < v.count ? mask : static_cast<__mmask16>(0);
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, first)),
                  high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(both, first + v.h.v_row));
    return (Vec)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
  // As many columns as fill vectors of halves; returns their number.
  static inline int64_t pack_wide_pairs(const Stored& v, int64_t key, float* to) {
    const auto* first = reinterpret_cast<const uint16_t*>(v.from) + key * v.h.v_row;
    // The lower half of each word from the first row, the upper one from the second (32 further on).
    const __m512i counting =
        _mm512_setr_epi32(0x200000, 0x210001, 0x220002, 0x230003, 0x240004, 0x250005, 0x260006, 0x270007,
                          0x280008, 0x290009, 0x2a000a, 0x2b000b, 0x2c000c, 0x2d000d, 0x2e000e, 0x2f000f);
    const __m512i above = _mm512_add_epi16(counting, _mm512_set1_epi16(kLanes));
    int64_t i = 0;
    for (; i + 2 * kLanes <= v.h.v_dim; i += 2 * kLanes) {
      const __m512i low = _mm512_loadu_si512(first + i), high = _mm512_loadu_si512(first + v.h.v_row + i);
      store(to + i, (Vec)_mm512_permutex2var_epi16(low, counting, high));
      store(to + i + kLanes, (Vec)_mm512_permutex2var_epi16(low, above, high));
    }
    return i;
  }
  static inline void pack_values(const Stored& v, float* to) {
    for (int64_t key = 0; key < v.count; key += 2, to += v.h.v_padded) {
      int64_t i = key + 1 < v.count ? pack_wide_pairs(v, key, to) : 0;
      for (; i < v.h.v_padded; i += kLanes) store(to + i, value_pairs(v, key, i));
    }
  }

  static inline void pack_queries(const AttentionHead& h, int64_t begin, int64_t end, float* to) {
    const int64_t stride = units(h.qk_dim);
    for (int64_t row = begin; row < end; ++row, to += stride) {
      const float* from = h.q + row / h.group * h.q_row + row % h.group * h.qk_dim;
      auto* halves = reinterpret_cast<uint16_t*>(to);
      halves[2 * stride - 1] = 0;
      int64_t i = 0;
      for (; i + kLanes <= h.qk_dim; i += kLanes) store(halves + i, load(from + i));
      if (i < h.qk_dim) {
        const int n = static_cast<int>(h.qk_dim - i);
        store_first(halves + i, load_first(from + i, n), n);
      }
    }
  }

  // Behind what was read already: a weight takes half the room of its score.
  static inline Vec keep(float* scores, int64_t j, Vec weights) {
    const __m256i halves = (__m256i)_mm512_cvtneps_pbh((__m512)weights);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(reinterpret_cast<uint16_t*>(scores) + j), halves);
    return widen((HalfVec)halves);
  }
};
#else
using PairForm = RoundedForm;
#endif

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
