// The softmax of a chunk of scores and the merging of chunks, shared by the forms of the forward.
#pragma once

#include "kernels/impl/attention_common.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

static inline float exp_of(float x) {
  return exp(broadcast(x))[0];
}

// Scores of one row become exp(scale * score - max) over `whole`; outside `seen` they are 0. keep(scores, j,
// weights) stores kLanes of them as what they stand for from then on, and returns that for their sum.
template <class Keep>
static inline void softmax_row(float* scores, Range whole, Range seen, float scale, float* max_out,
                               float* sum_out, Keep&& keep) {
  Vec most = broadcast(-__builtin_inff());
  for (int64_t j = whole.begin; j < whole.end; j += kLanes) {
    most = max(most, mask_outside(load(scores + j), j, seen));
  }
  const float top = reduce_max(most) * scale;
  *max_out = top;
  const Vec offset = broadcast(top == -__builtin_inff() ? 0.0f : -top);
  Vec sum = zero();
  for (int64_t j = whole.begin; j < whole.end; j += kLanes) {
    const Vec x = mask_outside(load(scores + j), j, seen);
    // Rounding may leave the largest a little above 0, which exp_nonpositive stands.
    const Vec e = exp_nonpositive(fma(x, broadcast(scale), offset));
    sum = sum + keep(scores, j, e);
  }
  *sum_out = reduce_add(sum);
}

static inline Vec keep_float(float* scores, int64_t j, Vec weights) {
  store(scores + j, weights);
  return weights;
}

static inline void merge_row(int64_t width, float* max_to, float* sum_to, float* out_to, float max_from,
                             float sum_from, const float* out_from) {
  if (max_from == -__builtin_inff()) return;
  if (*max_to == -__builtin_inff()) {
    *max_to = max_from, *sum_to = sum_from;
    for (int64_t i = 0; i < width; i += kLanes) store(out_to + i, load(out_from + i));
    return;
  }
  const float top = *max_to > max_from ? *max_to : max_from;
  const float keep_old = exp_of(*max_to - top), keep_new = exp_of(max_from - top);
  *max_to = top;
  *sum_to = *sum_to * keep_old + sum_from * keep_new;
  for (int64_t i = 0; i < width; i += kLanes) {
    store(out_to + i, fma(load(out_from + i), broadcast(keep_new), load(out_to + i) * keep_old));
  }
}

static inline AttentionState state_at(AttentionState state, int64_t row, int64_t width) {
  return {state.max + row, state.sum + row, state.out + row * width};
}

static inline bool untouched(const AttentionState& state, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i) {
    if (state.max[i] != -__builtin_inff()) return false;
  }
  return true;
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
