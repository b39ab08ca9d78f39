// Row-wise and element-wise operations over a thread pool. Formulas, shapes and what is overwritten or added
// to: rowwise_args.h. Results never depend on the number of threads: a row is one thread's, and sums over
// rows go through partial sums of kRowChunk rows that are added up in order.
#pragma once

#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "kernels/rowwise_args.h"

namespace frugal::kernels {

inline constexpr int64_t kRowChunk = 64;

void rms_norm_forward(ThreadPool& pool, const Table& table, RmsNorm args);
void rms_norm_backward(ThreadPool& pool, const Table& table, RmsNormGrad args);
void layer_norm_forward(ThreadPool& pool, const Table& table, LayerNorm args);
void layer_norm_backward(ThreadPool& pool, const Table& table, LayerNormGrad args);
void rope_apply(ThreadPool& pool, const Table& table, const Rope& args);
void swiglu_forward(ThreadPool& pool, const Table& table, Swiglu args);
void swiglu_backward(ThreadPool& pool, const Table& table, SwigluGrad args);
void gelu_forward(ThreadPool& pool, const Table& table, Gelu form, int64_t n, const float* x, float* y);
// dx = dy * gelu'(x), overwritten.
void gelu_backward(ThreadPool& pool, const Table& table, Gelu form, int64_t n, const float* x,
                   const float* dy, float* dx);
void cross_entropy_rows(ThreadPool& pool, const Table& table, CrossEntropy args);
void gather_rows(ThreadPool& pool, const Table& table, GatherRows args);
void scatter_add_rows(ThreadPool& pool, const Table& table, ScatterAddRows args);
void combine_rows(ThreadPool& pool, const Table& table, CombineRows args);
void combine_rows_backward(ThreadPool& pool, const Table& table, CombineRowsGrad args);

// y[c] += sum over rows of x[r, c]: the gradient of a bias. x_row 0 means contiguous.
void sum_rows(ThreadPool& pool, const Table& table, int64_t rows, int64_t cols, const float* x, int64_t x_row,
              float* y);
void add(ThreadPool& pool, const Table& table, int64_t n, const float* a, const float* b,
         float* y);  // y = a + b
void axpy(ThreadPool& pool, const Table& table, int64_t n, float alpha, const float* x,
          float* y);  // y += alpha x
void scale(ThreadPool& pool, const Table& table, int64_t n, float alpha, const float* x,
           float* y);  // y = alpha x
double sum_of_squares(ThreadPool& pool, const Table& table, int64_t n, const float* x);
// p, m, v are updated; g is read.
void adamw_update(ThreadPool& pool, const Table& table, const AdamW& args, int64_t n, const float* g,
                  float* p, float* m, float* v);
void f32_to_bf16(ThreadPool& pool, const Table& table, int64_t n, const float* x, uint16_t* y);
void bf16_to_f32(ThreadPool& pool, const Table& table, int64_t n, const uint16_t* x, float* y);

}  // namespace frugal::kernels
