// What the forward and the backward of attention share: which keys a row sees, and blocks copied into the
// layouts that the tiles want.
#pragma once

#include "kernels/attention_args.h"
#include "kernels/impl/kv_read.h"
#include "kernels/impl/loop.h"
#include "kernels/impl/pairs.h"
#include "kernels/impl/tile.h"
#include "kernels/impl/transpose.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

static inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

struct Range {
  int64_t begin, end;
};
static inline Range overlap(Range a, Range b) {
  return {larger(a.begin, b.begin), smaller(a.end, b.end)};
}

// Keys that a row sees. Both ends grow with the row.
static inline Range seen_by(const AttentionHead& h, int64_t row) {
  const int64_t query = h.group == 1 ? row : row / h.group;
  const int64_t end = h.causal ? h.keys - (h.queries - 1 - query) : h.keys;
  return {h.window > 0 && end > h.window ? end - h.window : 0, end};
}
// Keys that any of rows [first, last] sees.
static inline Range seen_by(const AttentionHead& h, int64_t first, int64_t last) {
  return {seen_by(h, first).begin, seen_by(h, last).end};
}

// Rows [begin, end) of an array with group heads of width `dim` per query row, copied to rows of `stride`
// floats whose rest is set to 0.
static inline void copy_rows(const float* from, int64_t query_row, int64_t group, int64_t dim, int64_t begin,
                             int64_t end, float* to, int64_t stride) {
  for (int64_t row = begin; row < end; ++row, to += stride) {
    const float* x = from + row / group * query_row + row % group * dim;
    for_vectors(dim, [&](int64_t i, auto part) { put(to + i, get(x + i, part), part); });
    for (int64_t i = dim; i < stride; ++i) to[i] = 0;
  }
}

// Reads kLanes rows with read(row) and transposes them; rows from `count` on are 0.
template <class Read>
static inline void transposed_rows(int64_t count, Read&& read, Vec (&square)[kLanes]) {
  if (count >= kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) square[i] = read(i);
  } else {
    for (int i = 0; i < kLanes; ++i) square[i] = i < count ? read(i) : zero();
  }
  transpose(square);
}

// kLanes rows, `width` <= kLanes of each, into columns of kKeyBlock floats.
template <class T>
static inline void pack_square(const T* from, int64_t row, int64_t count, int width, float* to) {
  Vec square[kLanes];
  if (width == kLanes) {
    transposed_rows(
        count, [&](int i) { return load(from + i * row); }, square);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) store(to + i * kKeyBlock, square[i]);
  } else {
    transposed_rows(
        count, [&](int i) { return load_first(from + i * row, width); }, square);
    for (int i = 0; i < width; ++i) store(to + i * kKeyBlock, square[i]);
  }
}

// 2 kLanes of each row in bf16, moved as pairs: half the shuffles.
static inline void pack_square_pairs(const uint16_t* from, int64_t row, int64_t count, float* to) {
  Vec square[kLanes];
  const auto read = [&](int i) {
    Vec pairs;
    __builtin_memcpy(&pairs, from + i * row, sizeof pairs);
    return pairs;
  };
  transposed_rows(count, read, square);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    store(to + 2 * i * kKeyBlock, from_bits(bits(square[i]) << 16));
    store(to + (2 * i + 1) * kKeyBlock, from_bits(bits(square[i]) & 0xffff0000u));
  }
}

// Rows of `dim` as (dim, kKeyBlock): element d of row j at to[d * kKeyBlock + j]; 0 for j >= count.
template <class T>
static inline void pack_columns(const T* from, int64_t row, int64_t dim, int64_t count, float* to) {
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    int64_t d = 0;
    if constexpr (sizeof(T) == 2) {
      for (; d + 2 * kLanes <= dim; d += 2 * kLanes) {
        pack_square_pairs(from + j * row + d, row, count - j, to + d * kKeyBlock + j);
      }
    }
    for (; d < dim; d += kLanes) {
      const int width = static_cast<int>(smaller(kLanes, dim - d));
      pack_square(from + j * row + d, row, count - j, width, to + d * kKeyBlock + j);
    }
  }
}
#if defined(__AVX512BF16__)
// The same in pairs along the rows, (pairs, kKeyBlock); the second of a last odd one is 0. `more` rows
// follow, of which the next kKeyBlock are asked for meanwhile.
template <class T>
static inline void pack_pair_columns(const T* from, int64_t row, int64_t dim, int64_t count, int64_t more,
                                     float* to) {
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    const int64_t ahead = smaller(kLanes, more - j);
    for (int64_t d = 0; d < dim; d += 2 * kLanes) {
      Vec square[kLanes];
      for (int64_t i = 0; i < ahead; ++i) __builtin_prefetch(from + (kKeyBlock + j + i) * row + d, 0, 2);
      transposed_rows(
          count - j, [&](int i) { return load_pairs(from + (j + i) * row + d, dim - d); }, square);
      const int64_t n = smaller(kLanes, (dim - d + 1) / 2);
      if (n == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) store(to + (d / 2 + i) * kKeyBlock + j, square[i]);
      } else {
        for (int64_t i = 0; i < n; ++i) store(to + (d / 2 + i) * kKeyBlock + j, square[i]);
      }
    }
  }
}
#endif

// The same of rows in q8_0; dim is a multiple of kQ8Values.
static inline void pack_q8_columns(const char* from, int64_t row_bytes, int64_t dim, int64_t count,
                                   float* to) {
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    for (int64_t d = 0; d < dim; d += kLanes) {
      Vec square[kLanes];
      const auto read = [&](int i) {
        return read_q8(from + (j + i) * row_bytes + d / kQ8Values * kQ8Bytes,
                       static_cast<int>(d % kQ8Values));
      };
      transposed_rows(count - j, read, square);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + (d + i) * kKeyBlock + j, square[i]);
    }
  }
}

// Rows of keys or values as f32 with rows of `stride` floats, the rest of a row set to 0.
template <class T>
static inline void widen_rows(const T* from, int64_t row, int64_t dim, int64_t count, float* to,
                              int64_t stride) {
  for (int64_t j = 0; j < count; ++j, from += row, to += stride) {
    int64_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) store(to + i, load(from + i));
    if (i < dim)
      store_first(to + i, load_first(from + i, static_cast<int>(dim - i)), static_cast<int>(dim - i));
    for (i = dim; i < stride; ++i) to[i] = 0;
  }
}

static inline void widen_q8_rows(const char* from, int64_t row_bytes, int64_t dim, int64_t count, float* to,
                                 int64_t stride) {
  for (int64_t j = 0; j < count; ++j, from += row_bytes, to += stride) {
    for (int64_t i = 0; i < dim; i += kQ8Values) {
      for (int part = 0; part < kQ8Values; part += kLanes) {
        store(to + i + part, read_q8(from + i / kQ8Values * kQ8Bytes, part));
      }
    }
    for (int64_t i = dim; i < stride; ++i) to[i] = 0;
  }
}

static inline void round_to_bf16(float* x, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) { put(x + i, widen(narrow(get(x + i, part))), part); });
}

// Scores that a row does not see become -inf: lane j of `scores` is key `first + j`.
static inline Vec mask_outside(Vec scores, int64_t first, Range seen) {
  if (first >= seen.begin && first + kLanes <= seen.end) return scores;
  IntVec lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  const IntVec inside =
      (lane >= static_cast<int32_t>(seen.begin - first)) & (lane < static_cast<int32_t>(seen.end - first));
  return inside ? scores : broadcast(-__builtin_inff());
}

// The range rounded outward to whole vectors.
static inline Range whole_vectors(Range range) {
  return {range.begin / kLanes * kLanes, (range.end + kLanes - 1) / kLanes * kLanes};
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
