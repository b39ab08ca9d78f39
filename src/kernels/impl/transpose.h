// A square of kLanes rows of kLanes floats, transposed in registers.
#pragma once

#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// Lane numbers 0 .. Count - 1 as template arguments.
template <int... Lane>
struct Indices {};
template <int Count, int... Lane>
struct IndicesUpTo : IndicesUpTo<Count - 1, Count - 1, Lane...> {};
template <int... Lane>
struct IndicesUpTo<0, Lane...> {
  using Type = Indices<Lane...>;
};
// Swaps the off-diagonal blocks of size Step in rows a (lower) and b = a + Step of a square.
template <int Step, int... Lane>
static inline void exchange(Vec& a, Vec& b, Indices<Lane...>) {
  const Vec upper = __builtin_shufflevector(a, b, ((Lane & Step) ? kLanes + Lane - Step : Lane)...);
  b = __builtin_shufflevector(a, b, ((Lane & Step) ? kLanes + Lane : Lane + Step)...);
  a = upper;
}
template <int Step>
static inline void exchange_rows(Vec (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (!(i & Step)) exchange<Step>(rows[i], rows[i + Step], typename IndicesUpTo<kLanes>::Type{});
  }
  if constexpr (Step > 1) exchange_rows<Step / 2>(rows);
}
// rows[i][j] becomes rows[j][i].
static inline void transpose(Vec (&rows)[kLanes]) {
  exchange_rows<kLanes / 2>(rows);
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
