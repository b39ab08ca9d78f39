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
  static inline bool in_place(const AttentionHead&) { return false; }
  static inline void pack_keys(const Stored& k, float* to) {
    FloatForm::pack_keys(k, to);
    if (k.h.kv_type == KvType::f32) round_to_bf16(to, k.h.qk_dim * kKeyBlock);
  }
  static inline void pack_values(const Stored& v, float* to) {
    FloatForm::pack_values(v, to);
    if (v.h.kv_type == KvType::f32) round_to_bf16(to, v.count * v.h.v_padded);
  }
  static inline void pack_queries(const AttentionHead& h, int64_t begin, int64_t end, float* to) {
    FloatForm::pack_queries(h, begin, end, to);
    round_to_bf16(to, (end - begin) * h.qk_dim);
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
    return h.kv_type == KvType::bf16 && h.qk_dim % 2 == 0 && (kLanes - rows % kLanes) % kLanes <= kSpare;
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

  static inline void pack_keys(const Stored& k, float* to) {
    const int64_t row = k.h.k_row, dim = k.h.qk_dim;
    if (k.h.kv_type == KvType::f32) {
      pack_pair_columns(reinterpret_cast<const float*>(k.from), row, dim, k.count, k.more, to);
    } else {
      pack_pair_columns(reinterpret_cast<const uint16_t*>(k.from), row, dim, k.count, k.more, to);
    }
  }

  template <class T>
  static inline void pack_values_of(const Stored& v, float* to) {
    for (int64_t key = 0; key < v.count; key += 2, to += v.h.v_padded) {
      const T* first = reinterpret_cast<const T*>(v.from) + key * v.h.v_row;
      const T* second = key + 1 < v.count ? first + v.h.v_row : nullptr;
      int64_t i = 0;
      for (; second && i + 2 * kLanes <= v.h.v_dim; i += 2 * kLanes)
        wide_row_pairs(first + i, second + i, to + i);
      for (; i < v.h.v_padded; i += kLanes) {
        const int left = static_cast<int>(larger(0, smaller(kLanes, v.h.v_dim - i)));
        store(to + i, row_pairs(first + i, second ? second + i : nullptr, left));
      }
    }
  }
  static inline void pack_values(const Stored& v, float* to) {
    v.h.kv_type == KvType::f32 ? pack_values_of<float>(v, to) : pack_values_of<uint16_t>(v, to);
  }

  static inline void pack_queries(const AttentionHead& h, int64_t begin, int64_t end, float* to) {
    const int64_t stride = units(h.qk_dim);
    for (int64_t row = begin; row < end; ++row, to += stride) {
      const float* from = h.q + row / h.group * h.q_row + row % h.group * h.qk_dim;
      int64_t i = 0;
      for (; i + 2 * kLanes <= h.qk_dim; i += 2 * kLanes) store(to + i / 2, load_pairs(from + i, 2 * kLanes));
      if (i < h.qk_dim) {
        store_first(to + i / 2, load_pairs(from + i, h.qk_dim - i), static_cast<int>(stride - i / 2));
      }
    }
  }

  // Behind what was read already: a weight takes half the room of its score.
  static inline Vec keep(float* scores, int64_t j, Vec weights) {
    const HalfVec halves = rounded_halves(weights);
    __builtin_memcpy(reinterpret_cast<uint16_t*>(scores) + j, &halves, sizeof halves);
    return widen(halves);
  }
};
#else
using PairForm = RoundedForm;
#endif

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
