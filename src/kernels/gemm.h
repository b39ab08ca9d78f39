// Matrix products on packed panels (Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
// 2008). Several problems in one call share the threads evenly, however different their sizes
// (mixture-of-experts). The order of an output's reduction depends on k and the instruction set only: never
// on m, n, the position in the matrix, the other problems or the number of threads. So a row alone gives the
// bits it gives in a batch.
#pragma once

#include <cstdint>
#include <span>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace frugal::kernels {

// C (m, n) = A (m, k) . B (k, n), or C += A . B when accumulate. Strides count elements; of each pair (a_row,
// a_col) and (b_row, b_col) one is 1, so X . W^T with W (n, k) row-major is b_row = 1, b_col = k. C's columns
// are adjacent and C overlaps neither A nor B. b points to f32 or bf16 elements as b_type says.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t a_row = 0, a_col = 0;
  const void* b = nullptr;
  Element b_type = Element::f32;
  int64_t b_row = 0, b_col = 0;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
};

// Uses the pool's scratch memory (at most about 8 MB on the caller, 0.3 MB on others). Outputs of different
// problems must not overlap. CHECKs the strides.
void gemm(ThreadPool& pool, const Table& table, std::span<const Gemm> problems,
          Precision precision = Precision::f32);

}  // namespace frugal::kernels
