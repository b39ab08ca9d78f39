// Divergences between a student's and a teacher's next-token distributions, both heads fused and chunked as
// in cross_entropy. With g_j = d(loss) / d(q_j), up to a constant, and T the temperature,
//   d(loss) / d(logit j) = q_j (g_j - sum_k q_k g_k) / T,
// where g_j is: forward KL -p_j / q_j; reverse KL log(q_j / p_j); with m the mixture: Jensen-Shannon
// (1 - b) log(q_j / m_j), skewed forward KL -(1 - b) p_j / m_j, skewed reverse KL log(q_j / m_j) - b q_j /
// m_j.
#include <cmath>

#include "autograd/ops.h"
#include "autograd/ops/vocabulary.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

// logits become log softmax(logits / temperature); returns the probabilities.
std::vector<float> softmax(const Context& ctx, float temperature, std::span<float> logits) {
  float largest = logits[0];
  for (const float z : logits) largest = std::max(largest, z);
  for (float& z : logits) z = (z - largest) / temperature;
  std::vector<float> p(logits.size());
  ctx.kernels.exp(static_cast<int64_t>(p.size()), logits.data(), p.data());
  double sum = 0;
  for (const float value : p) sum += static_cast<double>(value);
  const auto log_sum = static_cast<float>(std::log(sum));
  for (float& z : logits) z -= log_sum;
  for (float& value : p) value = static_cast<float>(static_cast<double>(value) / sum);
  return p;
}

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

// Loss of a row; the student's logits become their gradient times scale, the teacher's are used up.
double finish_row(const Context& ctx, const DivergenceOptions& o, int32_t target, float scale,
                  std::span<float> student, std::span<float> teacher) {
  const auto at = static_cast<size_t>(target);
  double loss = 0;
  std::vector<float> hard;
  if (o.hard_weight != 0) {
    std::vector<float> log_q(student.begin(), student.end());
    hard = softmax(ctx, 1, log_q);
    loss -= static_cast<double>(o.hard_weight) * static_cast<double>(log_q[at]);
  }
  const std::vector<float> q = softmax(ctx, o.temperature, student);
  const std::vector<float> p = softmax(ctx, o.temperature, teacher);
  double divergence = 0, mean = 0;
  for (size_t j = 0; j < q.size(); ++j) {
    const Term term = term_of(o, p[j], teacher[j], q[j], student[j]);
    divergence += static_cast<double>(term.loss);
    mean += static_cast<double>(term.qg);
    student[j] = term.qg;
  }
  const float factor = scale * o.weight / o.temperature, shift = static_cast<float>(mean);
  for (size_t j = 0; j < q.size(); ++j) student[j] = factor * (student[j] - q[j] * shift);
  if (o.hard_weight != 0) {
    for (size_t j = 0; j < q.size(); ++j) student[j] += scale * o.hard_weight * hard[j];
    student[at] -= scale * o.hard_weight;
  }
  return loss + static_cast<double>(o.weight) * divergence;
}

}  // namespace

CrossEntropyResult divergence(Context& ctx, const Tensor& hidden, const Tensor& head,
                              const Tensor& teacher_hidden, const Tensor& teacher_head,
                              std::span<const int32_t> targets, const DivergenceOptions& options,
                              float scale) {
  CHECK(hidden.cols() == head.cols() && teacher_hidden.cols() == teacher_head.cols());
  CHECK(hidden.rows() == teacher_hidden.rows() && static_cast<int64_t>(targets.size()) == hidden.rows());
  CHECK(head.dim(0) == teacher_head.dim(0), "vocabularies of {} and {}", head.dim(0), teacher_head.dim(0));
  CHECK(options.temperature > 0 && options.beta > 0 && options.beta < 1);
  const std::vector<int64_t> wanted = rows_with_target(targets);
  CrossEntropyResult result{0, static_cast<int64_t>(wanted.size())};
  if (wanted.empty()) return result;
  if (wanted.size() < targets.size()) {
    std::vector<int32_t> dense;
    for (const int64_t r : wanted) dense.push_back(targets[static_cast<size_t>(r)]);
    return divergence(ctx, gather_rows(ctx, hidden, wanted), head, gather_rows(ctx, teacher_hidden, wanted),
                      teacher_head, dense, options, scale);
  }
  const int64_t rows = hidden.rows(), vocab = head.dim(0), step = rows_at_once(rows, vocab);
  Tensor z = Tensor::empty(ctx, {step, vocab}), p = Tensor::empty(ctx, {step, vocab});
  const bool gradients = recording(ctx, hidden, head);
  Tensor::GradientTarget dx{nullptr, false};
  if (gradients && hidden.needs_gradient()) dx = hidden.gradient_target(ctx);
  if (ctx.dry_run()) {
    if (gradients && head.needs_gradient()) head.gradient_target(ctx);
    return result;
  }
  const WeightView view = gradients ? view_weight(head) : WeightView{};
  std::vector<double> losses(static_cast<size_t>(rows));
  for (int64_t begin = 0; begin < rows; begin += step) {
    const RowChunk chunk{begin, std::min(step, rows - begin)};
    const Product products[] = {
        {hidden.f32() + begin * hidden.cols(), chunk.rows, &head, z.f32()},
        {teacher_hidden.f32() + begin * teacher_hidden.cols(), chunk.rows, &teacher_head, p.f32()}};
    multiply(ctx, products);
    ctx.pool.parallel_for(chunk.rows, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t r = first; r < last; ++r) {
        const auto at = static_cast<size_t>(r * vocab), size = static_cast<size_t>(vocab);
        losses[static_cast<size_t>(begin + r)] =
            finish_row(ctx, options, targets[static_cast<size_t>(begin + r)], scale, {z.f32() + at, size},
                       {p.f32() + at, size});
      }
    });
    if (gradients) chunk_gradients(ctx, hidden, head, view, z.f32(), chunk, dx);
  }
  for (const double loss : losses) result.loss_sum += loss;
  return result;
}

}  // namespace frugal::ops
