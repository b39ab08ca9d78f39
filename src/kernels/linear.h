// Linear layers on weights as they lie in memory (a mapped file: nothing is repacked), for inference: every
// output is a dot product of a row of x and a row of W. The order of the sum depends on `in`, the weight's
// format, the precision and the instruction set only: one row gives the bits that it gives among 512, so
// decoding, verification and prefill agree. gemm.h sums in another order.
#pragma once

#include <span>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace frugal::kernels {

// y = x . W^T + bias for every problem (LinearProblem: kernels.h), shared over the threads together. Outputs
// must not overlap one another or any input. CHECKs the strides.
void linear(ThreadPool& pool, const Table& table, std::span<const LinearProblem> problems);

// As linear, for weights in formats that kernels do not read: decode(problem, begin, end, to) writes rows
// [begin, end) of a problem's W as f32, `in` apart. Called for a few rows at a time, by several threads. w,
// w_type and w_row of the problems are not used; outputs have the bits that f32 weights would give.
void linear_decoding(ThreadPool& pool, const Table& table, std::span<const LinearProblem> problems,
                     FunctionRef<void(size_t problem, int64_t begin, int64_t end, float* to)> decode);

}  // namespace frugal::kernels
