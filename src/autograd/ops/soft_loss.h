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

// The sum of finish_row over all rows, a few at a time; none of the logits are kept. Every row has a target,
// an id below `width`, and the teacher's row beside it; the first `width` of the student's logits and
// `teacher_width` of the teacher's take part, the student's others get no gradient. `soft` compares a row
// with the teacher's logits, which it may overwrite.
using TeacherLoss =
    std::function<double(std::span<float> teacher, std::span<const float> q, std::span<float> log_q)>;
double over_both_logits(Context& ctx, const Tensor& hidden, const Tensor& head, const Tensor& teacher_hidden,
                        const Tensor& teacher_head, int64_t width, int64_t teacher_width,
                        std::span<const int32_t> targets, const DivergenceOptions& options, float scale,
                        const TeacherLoss& soft);

}  // namespace frugal::ops
