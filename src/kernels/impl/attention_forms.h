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

// A block of values in units (keys, or pairs of keys): one behind the other, `stride` apart; or where stride
// is 0, the columns of one tile after those of another, so that a tile reads on through memory.
struct Values {
  const float* from;
  int64_t stride;
  int64_t stride_of(int width) const { return stride == 0 ? width * kLanes : stride; }
  // Of the tile of `width` vectors that begins with vector j.
  const float* tile(int64_t unit, int64_t units, int64_t j, int width) const {
    return from + (stride == 0 ? j * units * kLanes : j * kLanes) + unit * stride_of(width);
  }
};

struct FloatForm {
  using Unit = Single;
  static constexpr int kKeysPerUnit = 1;
  static constexpr bool kValuesInTiles = false;
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
  static constexpr bool kValuesInTiles = true;
  static inline int64_t units(int64_t dim) { return (dim + 1) / 2; }
  static inline bool in_place(const AttentionHead&) { return false; }

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
    const int64_t vectors = v.h.v_padded / kLanes;
    for (int64_t j = 0; j < vectors;) {
      const int width = next_vectors(vectors - j);
      float* tile = to + j * (kKeyBlock / 2) * kLanes;
      for (int64_t key = 0; key < v.count; key += 2, tile += width * kLanes) {
        const T* first = reinterpret_cast<const T*>(v.from) + key * v.h.v_row;
        const T* second = key + 1 < v.count ? first + v.h.v_row : nullptr;
        for (int i = 0; i < width; ++i) {
          const int64_t at = (j + i) * kLanes;
          const int left = static_cast<int>(larger(0, smaller(kLanes, v.h.v_dim - at)));
          store(tile + i * kLanes, row_pairs(first + at, second ? second + at : nullptr, left));
        }
      }
      j += width;
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
