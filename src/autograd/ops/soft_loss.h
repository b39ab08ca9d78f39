// What the losses between whole distributions share: a row of logits, its softmax at a temperature, and the
// way from d(loss) / d(probabilities) to d(loss) / d(logits).
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "autograd/ops.h"

namespace frugal::ops {

// logits become log softmax(logits / temperature); returns the probabilities.
std::vector<float> log_softmax(const Context& ctx, float temperature, std::span<float> logits);

// The loss of a student's distribution q, given log q; leaves q_j g_j in its place, where g_j = d(loss) /
// d(q_j) up to a constant.
using SoftLoss = std::function<double(std::span<const float> q, std::span<float> log_q)>;

// weight * soft loss + hard_weight * -log q_target (at temperature 1) of a row; the logits become its
// gradient times scale. With temperature T,
//   d(loss) / d(logit j) = q_j (g_j - sum_k q_k g_k) / T.
double finish_row(const Context& ctx, const DivergenceOptions& options, int32_t target, float scale,
                  std::span<float> logits, const SoftLoss& soft);

}  // namespace frugal::ops
