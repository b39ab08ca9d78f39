// Sums of rows, weighted: what attention does with values, and a product with a matrix that is stored the
// other way round. Each output is one chain of multiply-adds over the rows, in order.
#pragma once

#include "kernels/impl/kv_read.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// Outputs whose sums are held at once, with two or four vectors each.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kWeighRows = 4;
#else
constexpr int kWeighRows = 3;
#endif

// out (kRows, width) += weights (kRows, count) . rows (count, width)
struct Weighing {
  const char* rows;
  int64_t row_bytes, count, width;
  const float* weights;
  int64_t weights_row;
  float* out;
  int64_t out_row;
  const char* ahead = nullptr;  // memory to ask for meanwhile
  int64_t ahead_bytes = 0;
};

// Columns [column, column + kSteps * kStep).
template <KvType kType, int kRows, int kSteps>
static inline void weigh_columns(const Weighing& w, int64_t column) {
  using Row = KvRow<kType>;
  constexpr int kVectors = kSteps * Row::kParts;
  Vec sums[kRows][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) sums[r][i] = load(w.out + r * w.out_row + column + i * kLanes);
  }
  const char* row = w.rows;
  constexpr int64_t kColumns = kSteps * Row::kStep, kLine = 64;
  const char *ask = nullptr, *asked = nullptr;
  int64_t ask_bytes = 0;
  if (w.ahead_bytes > 0 && w.count > 0) {
    ask = asked = w.ahead + w.ahead_bytes * column / w.width;
    ask_bytes = w.ahead_bytes * kColumns / w.width / w.count;
  }
  for (int64_t j = 0; j < w.count; ++j, row += w.row_bytes) {
    ask += ask_bytes;
    for (; asked < ask; asked += kLine) __builtin_prefetch(asked, 0, 2);
    Vec values[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kSteps; ++i) Row::read(row, column + i * Row::kStep, values + i * Row::kParts);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Vec weight = broadcast(w.weights[r * w.weights_row + j]);
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) sums[r][i] = fma(weight, values[i], sums[r][i]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) store(w.out + r * w.out_row + column + i * kLanes, sums[r][i]);
  }
}

template <KvType kType, int kRows>
static inline void weigh_last(const Weighing& w, int64_t column) {
  const int n = static_cast<int>(w.width - column);
  for (int r = 0; r < kRows; ++r) {
    float* out = w.out + r * w.out_row + column;
    Vec sum = load_first(out, n);
    for (int64_t j = 0; j < w.count; ++j) {
      const Vec value = KvRow<kType>::read_first(w.rows + j * w.row_bytes, column, n);
      sum = fma(broadcast(w.weights[r * w.weights_row + j]), value, sum);
    }
    store_first(out, sum, n);
  }
}

template <KvType kType, int kRows>
static inline void weigh_all(const Weighing& w) {
  constexpr int64_t kStep = KvRow<kType>::kStep;
  constexpr bool kBlocks = KvRow<kType>::kParts > 1;
  constexpr int kWide = kBlocks ? (kLanes == 16 ? 2 : 1) : (kLanes == 8 ? 2 : 4);
  int64_t column = 0;
#if defined(__AVX512F__)
  // One row leaves registers for many columns, which lie side by side in memory.
  constexpr int kWidest = kBlocks ? 8 : 16;
  if constexpr (kRows == 1) {
    for (; column + kWidest * kStep <= w.width; column += kWidest * kStep) {
      weigh_columns<kType, kRows, kWidest>(w, column);
    }
  }
#endif
  for (; column + kWide * kStep <= w.width; column += kWide * kStep) {
    weigh_columns<kType, kRows, kWide>(w, column);
  }
  for (; column + kStep <= w.width; column += kStep) weigh_columns<kType, kRows, 1>(w, column);
  if (column < w.width) weigh_last<kType, kRows>(w, column);
}

// rows <= kWeighRows
template <KvType kType>
static inline void weigh(int rows, const Weighing& w) {
  if (rows == 1) return weigh_all<kType, 1>(w);
  if (rows == 2) return weigh_all<kType, 2>(w);
  if (rows == 3) return weigh_all<kType, 3>(w);
  weigh_all<kType, kWeighRows>(w);
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
