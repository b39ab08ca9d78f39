// Divergences between a student's and a teacher's next-token distributions, both heads fused and chunked as
// in cross_entropy. With g_j = d(loss) / d(q_j), up to a constant (soft_loss.h), g_j is: forward KL -p_j /
// q_j; reverse KL log(q_j / p_j); with m the mixture: Jensen-Shannon (1 - b) log(q_j / m_j), skewed forward
// KL
// -(1 - b) p_j / m_j, skewed reverse KL log(q_j / m_j) - b q_j / m_j.
#include <cmath>

#include "autograd/ops.h"
#include "autograd/ops/soft_loss.h"
#include "autograd/ops/vocabulary.h"
#include "core/error.h"

namespace frugal::ops {
namespace {

// One word of the vocabulary: its part of the loss, and q_j g_j.
struct Term {
  float loss, qg;
};

Term term_of(const DivergenceOptions& o, float p, float log_p, float q, float log_q) {
  const float b = o.beta;
  switch (o.kind) {
    case Divergence::forward_kl:
      return {p * (log_p - log_q), -p};
    case Divergence::reverse_kl:
      return {q * (log_q - log_p), q * (log_q - log_p)};
    case Divergence::jensen_shannon: {
      const float m = b * p + (1 - b) * q;
      if (m <= 0) return {0, 0};
      const float log_m = std::log(m);
      return {b * p * (log_p - log_m) + (1 - b) * q * (log_q - log_m), (1 - b) * q * (log_q - log_m)};
    }
    case Divergence::skew_forward_kl: {
      const float m = b * p + (1 - b) * q;
      if (m <= 0) return {0, 0};
      return {p * (log_p - std::log(m)), -(1 - b) * p * q / m};
    }
    case Divergence::skew_reverse_kl: {
      const float m = (1 - b) * p + b * q;
      if (m <= 0) return {0, 0};
      const float log_m = std::log(m);
      return {q * (log_q - log_m), q * (log_q - log_m) - b * q * q / m};
    }
  }
  CHECK(false);
}

// Sum over the vocabulary; the teacher's logits are used up.
double divergence_of_row(const Context& ctx, const DivergenceOptions& o, std::span<float> teacher,
                         std::span<const float> q, std::span<float> log_q) {
  const std::vector<float> p = log_softmax(ctx, o.temperature, teacher);
  double sum = 0;
  for (size_t j = 0; j < q.size(); ++j) {
    const Term term = term_of(o, p[j], teacher[j], q[j], log_q[j]);
    sum += static_cast<double>(term.loss);
    log_q[j] = term.qg;
  }
  return sum;
}

}  // namespace

CrossEntropyResult divergence(Context& ctx, const Tensor& hidden, const Tensor& head,
                              const Tensor& teacher_hidden, const Tensor& teacher_head,
                              std::span<const int32_t> targets, const DivergenceOptions& options,
                              float scale) {
  CHECK(hidden.cols() == head.cols() && teacher_hidden.cols() == teacher_head.cols());
  CHECK(hidden.rows() == teacher_hidden.rows() && static_cast<int64_t>(targets.size()) == hidden.rows());
  const int64_t shared = std::min(head.dim(0), teacher_head.dim(0));
  for (const int32_t t : targets) CHECK(t < shared, "target {} of {}", t, shared);
  CHECK(options.temperature > 0 && options.beta > 0 && options.beta < 1);
  const std::vector<int64_t> wanted = rows_with_target(targets);
  CrossEntropyResult result{0, static_cast<int64_t>(wanted.size())};
  if (wanted.empty()) return result;
  if (wanted.size() < targets.size()) {
    return divergence(ctx, gather_rows(ctx, hidden, wanted), head, gather_rows(ctx, teacher_hidden, wanted),
                      teacher_head, at_rows(targets, wanted), options, scale);
  }
  result.loss_sum = over_both_logits(
      ctx, hidden, head, teacher_hidden, teacher_head, shared, shared, targets, options, scale,
      [&](std::span<float> teacher, std::span<const float> q, std::span<float> log_q) {
        return divergence_of_row(ctx, options, teacher, q, log_q);
      });
  return result;
}

}  // namespace frugal::ops
