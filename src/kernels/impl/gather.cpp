// Rows moved by index: what embeddings and mixtures of experts need around their matrix products.
#include "kernels/impl/loop.h"
#include "kernels/kernels.h"
#include "kernels/rowwise_args.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

static inline void scale_into(int64_t n, float alpha, const float* x, float* y) {
  for_vectors(n, [&](int64_t i, auto part) { put(y + i, get(x + i, part) * alpha, part); });
}

static inline void add_into(int64_t n, float alpha, const float* x, float* y) {
  for_vectors(n, [&](int64_t i, auto part) {
    put(y + i, fma(get(x + i, part), broadcast(alpha), get(y + i, part)), part);
  });
}

static inline void clear(int64_t n, float* y) {
  for_vectors(n, [&](int64_t i, auto part) { put(y + i, zero(), part); });
}

}  // namespace

void gather_rows(const GatherRows& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    float* out = a.out + row * a.out_row;
    if (a.index[row] < 0) {
      clear(a.dim, out);
    } else {
      __builtin_memcpy(out, a.x + a.index[row] * a.x_row, sizeof(float) * static_cast<size_t>(a.dim));
    }
  }
}

void scatter_add_rows(const ScatterAddRows& a, int64_t begin, int64_t end) {
  for (int64_t row = 0; row < a.rows; ++row) {
    const int64_t to = a.index[row];
    if (to < begin || to >= end) continue;
    add_into(a.dim, a.weight ? a.weight[row] : 1.0f, a.x + row * a.x_row, a.out + to * a.out_row);
  }
}

void combine_rows(const CombineRows& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    float* out = a.out + row * a.out_row;
    if (!a.accumulate) clear(a.dim, out);
    for (int64_t j = row * a.k; j < (row + 1) * a.k; ++j) {
      if (a.slot[j] < 0) continue;
      add_into(a.dim, a.weight ? a.weight[j] : 1.0f, a.x + a.slot[j] * a.x_row, out);
    }
  }
}

void combine_rows_backward(const CombineRowsGrad& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* dout = a.dout + row * a.dout_row;
    for (int64_t j = row * a.k; j < (row + 1) * a.k; ++j) {
      const int64_t slot = a.slot[j];
      if (a.dweight) {
        a.dweight[j] = slot < 0 ? 0.0f : sum_vectors(a.dim, [&](int64_t i, auto part) {
          return get(dout + i, part) * get(a.x + slot * a.x_row + i, part);
        });
      }
      if (a.dx && slot >= 0) scale_into(a.dim, a.weight ? a.weight[j] : 1.0f, dout, a.dx + slot * a.dx_row);
    }
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
