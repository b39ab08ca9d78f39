// The register tile of the packed matrix product, and the transposition that packing needs.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// A tile's sums, the two vectors of B and one broadcast fill the registers: 32 of them or 16.
#if defined(__AVX512F__)
constexpr int kGemmRows = 14;
#elif defined(__aarch64__)
constexpr int kGemmRows = 12;
#else
constexpr int kGemmRows = 6;
#endif
constexpr int kGemmVectors = 2;
constexpr int kGemmColumns = kGemmVectors * kLanes;

// Swaps the off-diagonal blocks of size Step in rows a (lower) and b = a + Step of a square.
template <int... Lane>
struct Indices {};
template <int Count, int... Lane>
struct IndicesUpTo : IndicesUpTo<Count - 1, Count - 1, Lane...> {};
template <int... Lane>
struct IndicesUpTo<0, Lane...> {
  using Type = Indices<Lane...>;
};
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
