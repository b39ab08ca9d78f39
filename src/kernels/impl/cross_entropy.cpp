// Softmax cross-entropy of rows of logits: one pass for the maximum, one for the sum of exp (kept in place
// when the gradient is wanted, so that exp is computed once), one to scale.
#include <math.h>

#include "kernels/impl/loop.h"
#include "kernels/kernels.h"
#include "kernels/rowwise_args.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

static inline float max_of(int64_t n, const float* x) {
  Vec a = broadcast(-__builtin_inff()), b = a;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a = max(a, load(x + i));
    b = max(b, load(x + i + kLanes));
  }
  float most = reduce_max(max(a, b));
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

static inline void clear(int64_t n, float* x) {
  for_vectors(n, [&](int64_t i, auto part) { put(x + i, zero(), part); });
}

}  // namespace

void cross_entropy_rows(const CrossEntropy& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    float* x = a.logits + row * a.logits_row;
    const int64_t target = a.targets[row];
    if (target < 0) {
      a.losses[row] = 0;
      if (a.lse) a.lse[row] = 0;
      if (a.gradient) clear(a.vocab, x);
      continue;
    }
    const float most = max_of(a.vocab, x), wanted = x[target];
    const float sum = sum_vectors(a.vocab, [&](int64_t i, auto part) {
      const Vec e = keep(exp_nonpositive(get(x + i, part) - most), 0.0f, part);
      if (a.gradient) put(x + i, e, part);
      return e;
    });
    const float log_sum = logf(sum);
    a.losses[row] = log_sum + (most - wanted);
    if (a.lse) a.lse[row] = most + log_sum;
    if (!a.gradient) continue;
    const float factor = a.scale / sum;
    for_vectors(a.vocab, [&](int64_t i, auto part) { put(x + i, get(x + i, part) * factor, part); });
    x[target] -= a.scale;
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
