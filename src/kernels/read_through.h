// Few rows of activations against large matrices cost what reading the matrices costs. So every thread reads
// on through a part of them that is its own, in small pieces, and helps others when it is done; and what is
// read after them is asked for by whoever waits (core/read_ahead.h).
#pragma once

#include <span>

#include "core/thread_pool.h"

namespace frugal::kernels {

struct MatrixToRead {
  const void* from;
  int64_t row_bytes, rows;
  int64_t step;  // pieces have whole multiples of so many rows
};

// Calls body(index of the matrix, begin, end, worker) for pieces of rows that cover every matrix exactly
// once.
void read_through(ThreadPool& pool, std::span<const MatrixToRead> matrices,
                  FunctionRef<void(size_t, int64_t, int64_t, int)> body);

}  // namespace frugal::kernels
