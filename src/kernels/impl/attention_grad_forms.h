// How the backward's blocks lie in scratch for the tiles: as f32, as f32 rounded to bf16, or as pairs of bf16
// that the machine multiplies two at a time. Its five products sum along a head's width (scores and dP),
// along rows (dk, dv) and along keys (dq), so what meets in them is packed in units along each: f32 for
// itself, pairs of neighbours.
#pragma once

#include "kernels/impl/attention_common.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// Rows of q or dout, as AttentionHead counts them.
struct HeadRows {
  const float* from;  // of query 0, first head of the group
  int64_t query_row, group, dim;
  const float* row(int64_t r) const { return from + r / group * query_row + r % group * dim; }
};

struct FloatGrad {
  using Unit = Single;
  static constexpr int kPerUnit = 1;
  static inline int64_t units(int64_t dim) { return dim; }

  // One array serves in every direction.
  static inline void arrange(AttentionGradScratch& s) {
    s.q_steps = s.q, s.dout_steps = s.dout;
    s.weight_steps = s.weights, s.dscore_steps = s.dscore_rows = s.dscores;
  }
  // Rows [begin, end) in units along the width, and along the rows; `width`: floats of a padded row.
  static inline void pack_rows(const HeadRows& x, int64_t begin, int64_t end, int64_t width, float* rows,
                               float*) {
    copy_rows(x.from, x.query_row, x.group, x.dim, begin, end, rows, width);
  }
  static inline void pack_key_columns(const float* from, int64_t row, int64_t dim, int64_t count, float* to) {
    pack_columns(from, row, dim, count, to);
  }
  static inline void pack_key_steps(const float* from, int64_t row, int64_t dim, int64_t count, int64_t width,
                                    float* to) {
    widen_rows(from, row, dim, count, to, width);
  }
  // Weights and score gradients of kPerUnit rows and the keys [j, j + kLanes) of a block.
  static inline void keep(const AttentionGradScratch& s, int64_t row, int64_t j, const Vec* weights,
                          const Vec* dscores) {
    store(s.weights + row * kKeyBlock + j, weights[0]);
    store(s.dscores + row * kKeyBlock + j, dscores[0]);
  }
};

// The numbers that PairGrad multiplies, one at a time.
struct RoundedGrad : FloatGrad {
  static inline void pack_rows(const HeadRows& x, int64_t begin, int64_t end, int64_t width, float* rows,
                               float* steps) {
    FloatGrad::pack_rows(x, begin, end, width, rows, steps);
    round_to_bf16(rows, (end - begin) * width);
  }
  static inline void pack_key_columns(const float* from, int64_t row, int64_t dim, int64_t count, float* to) {
    FloatGrad::pack_key_columns(from, row, dim, count, to);
    round_to_bf16(to, dim * kKeyBlock);
  }
  static inline void pack_key_steps(const float* from, int64_t row, int64_t dim, int64_t count, int64_t width,
                                    float* to) {
    FloatGrad::pack_key_steps(from, row, dim, count, width, to);
    round_to_bf16(to, count * width);
  }
  static inline void keep(const AttentionGradScratch& s, int64_t row, int64_t j, const Vec* weights,
                          const Vec* dscores) {
    const Vec weight = widen(narrow(weights[0])), dscore = widen(narrow(dscores[0]));
    FloatGrad::keep(s, row, j, &weight, &dscore);
  }
};

#if defined(__AVX512BF16__)
// Blocks of rows and of keys begin at even ones, so pairs are the same however the work is cut.
struct PairGrad {
  using Unit = Pair;
  static constexpr int kPerUnit = 2;
  static inline int64_t units(int64_t dim) { return (dim + 1) / 2; }

  static inline void arrange(AttentionGradScratch&) {}

  static inline void pack_rows(const HeadRows& x, int64_t begin, int64_t end, int64_t width, float* rows,
                               float* steps) {
    for (int64_t row = begin; row < end; row += 2, rows += width, steps += width) {
      const float *first = x.row(row), *second = row + 1 < end ? x.row(row + 1) : nullptr;
      auto* halves = reinterpret_cast<uint16_t*>(rows);
      for (int64_t i = 0; i < width; i += kLanes) {
        const int n = static_cast<int>(smaller(kLanes, x.dim - i));
        const Vec a = load_first(first + i, n), b = second ? load_first(second + i, n) : zero();
        store_halves(halves + i, a);
        store_halves(halves + width + i, b);
        store(steps + i, interleaved_pairs(a, b));
      }
    }
  }
  static inline void pack_key_columns(const float* from, int64_t row, int64_t dim, int64_t count, float* to) {
    pack_pair_columns(from, row, dim, count, 0, to);
  }
  static inline void pack_key_steps(const float* from, int64_t row, int64_t dim, int64_t count, int64_t width,
                                    float* to) {
    for (int64_t key = 0; key < count; key += 2, to += width) {
      const float *first = from + key * row, *second = key + 1 < count ? first + row : nullptr;
      for (int64_t i = 0; i < width; i += kLanes) {
        store(to + i, row_pairs(first + i, second ? second + i : nullptr,
                                static_cast<int>(smaller(kLanes, dim - i))));
      }
    }
  }
  static inline void keep(const AttentionGradScratch& s, int64_t row, int64_t j, const Vec* weights,
                          const Vec* dscores) {
    const int64_t step = row / 2 * kKeyBlock + j;
    store(s.weight_steps + step, interleaved_pairs(weights[0], weights[1]));
    store(s.dscore_steps + step, interleaved_pairs(dscores[0], dscores[1]));
    auto* halves = reinterpret_cast<uint16_t*>(s.dscore_rows) + row * kKeyBlock + j;
    store_halves(halves, dscores[0]);
    store_halves(halves + kKeyBlock, dscores[1]);
  }
};
#else
using PairGrad = RoundedGrad;
#endif

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
