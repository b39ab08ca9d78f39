// Loops over arrays in vectors: whole ones first, then the first n lanes of a last one. The body is a generic
// lambda called as body(offset, part), which reads with get(pointer, part) and writes with put(pointer,
// value, part).
#pragma once

#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

struct Whole {};
struct First {
  int n;
};
static inline Vec get(const float* from, Whole) {
  return load(from);
}
static inline Vec get(const float* from, First part) {
  return load_first(from, part.n);
}
static inline void put(float* to, Vec x, Whole) {
  store(to, x);
}
static inline void put(float* to, Vec x, First part) {
  store_first(to, x, part.n);
}
// Lanes beyond the part replaced by `other`, for reductions that 0 would spoil.
static inline Vec keep(Vec x, float, Whole) {
  return x;
}
static inline Vec keep(Vec x, float other, First part) {
  for (int i = part.n; i < kLanes; ++i) x[i] = other;
  return x;
}

template <class Body>
static inline void for_vectors(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole{});
  if (i < n) body(i, First{static_cast<int>(n - i)});
}

// Sum of body(offset, part) over [0, n) in four chains, vector i in chain i % 4; lanes beyond n must give 0.
// The order depends on n only.
template <class Body>
static inline float sum_vectors(int64_t n, Body&& body) {
  Vec a = zero(), b = zero(), c = zero(), d = zero();
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = a + body(i, Whole{});
    b = b + body(i + kLanes, Whole{});
    c = c + body(i + 2 * kLanes, Whole{});
    d = d + body(i + 3 * kLanes, Whole{});
  }
  for (; i < n; i += kLanes) {
    a = a + (i + kLanes <= n ? body(i, Whole{}) : body(i, First{static_cast<int>(n - i)}));
    const Vec first = a;
    a = b, b = c, c = d, d = first;
  }
  return reduce_add((a + b) + (c + d));
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
