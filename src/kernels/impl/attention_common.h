// What the forward and the backward of attention share: which keys a row sees, and blocks copied into the
// layouts that the tiles want.
#pragma once

#include "kernels/attention_args.h"
#include "kernels/impl/loop.h"
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
  const int64_t end = h.causal ? h.keys - (h.queries - 1 - row / h.group) : h.keys;
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

// Keys [begin, begin + count) as (dim, kKeyBlock): element d of key j at to[d * kKeyBlock + j]; 0 for j >=
// count.
template <class T>
static inline void pack_columns(const T* from, int64_t row, int64_t dim, int64_t count, float* to) {
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    for (int64_t d = 0; d < dim; d += kLanes) {
      const int width = static_cast<int>(smaller(kLanes, dim - d));
      Vec square[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const T* x = from + (j + i) * row + d;
        square[i] = j + i >= count ? zero() : width == kLanes ? load(x) : load_first(x, width);
      }
      transpose(square);
      for (int i = 0; i < width; ++i) store(to + (d + i) * kKeyBlock + j, square[i]);
    }
  }
}
static inline void pack_columns(Element type, const void* from, int64_t first, int64_t row, int64_t dim,
                                int64_t count, float* to) {
  if (type == Element::f32) {
    pack_columns(static_cast<const float*>(from) + first * row, row, dim, count, to);
  } else {
    pack_columns(static_cast<const uint16_t*>(from) + first * row, row, dim, count, to);
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

// Scores of a strip of rows that lie outside what a row sees become -inf; `strip` is rounded to whole
// vectors.
static inline void mask_outside(float* scores, Range strip, Range seen) {
  for (int64_t j = strip.begin; j < seen.begin; ++j) scores[j] = -__builtin_inff();
  for (int64_t j = seen.end; j < strip.end; ++j) scores[j] = -__builtin_inff();
}

// The range rounded outward to whole vectors.
static inline Range whole_vectors(Range range) {
  return {range.begin / kLanes * kLanes, (range.end + kLanes - 1) / kLanes * kLanes};
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
