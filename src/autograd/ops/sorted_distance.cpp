// Universal logit distillation: distributions over two vocabularies, compared rank by rank. Which word has
// which probability does not matter, so the vocabularies need nothing in common. With r(j) the rank of word j
// in the student's distribution, d(loss) / d(q_j) = sign(q_j - p_(r(j))) (soft_loss.h).
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "autograd/ops.h"
#include "autograd/ops/soft_loss.h"
#include "autograd/ops/vocabulary.h"
#include "core/error.h"

namespace frugal::ops {
namespace {

// Places of `values` (not negative) from the largest to the smallest, ties by place: radix sort of the bits,
// which order as the values do.
std::vector<uint32_t> descending(std::span<const float> values) {
  constexpr uint32_t kBits = 11, kBuckets = 1 << kBits;
  std::vector<std::pair<uint32_t, uint32_t>> from(values.size()), to(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    from[i] = {~std::bit_cast<uint32_t>(values[i]), static_cast<uint32_t>(i)};
  }
  for (uint32_t shift = 0; shift < 32; shift += kBits) {
    std::array<uint32_t, kBuckets> places{};
    for (const auto& [key, place] : from) ++places[(key >> shift) % kBuckets];
    uint32_t begin = 0;
    for (uint32_t& place : places) place = std::exchange(begin, begin + place);
    for (const auto& item : from) to[places[(item.first >> shift) % kBuckets]++] = item;
    std::swap(from, to);
  }
  std::vector<uint32_t> order(values.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = from[i].second;
  return order;
}

// Sum over ranks; the teacher's logits are used up.
double distance_of_row(const Context& ctx, float temperature, std::span<float> teacher,
                       std::span<const float> q, std::span<float> log_q) {
  const std::vector<float> p = log_softmax(ctx, temperature, teacher);
  const std::vector<uint32_t> of_p = descending(p), of_q = descending(q);
  double sum = 0;
  for (size_t rank = 0; rank < of_q.size(); ++rank) {
    const float own = q[of_q[rank]], theirs = rank < of_p.size() ? p[of_p[rank]] : 0.0f;
    sum += static_cast<double>(std::abs(own - theirs));
    log_q[of_q[rank]] = own > theirs ? own : own < theirs ? -own : 0.0f;
  }
  for (size_t rank = of_q.size(); rank < of_p.size(); ++rank) sum += static_cast<double>(p[of_p[rank]]);
  return sum;
}

}  // namespace

CrossEntropyResult sorted_distance(Context& ctx, const Tensor& hidden, const Tensor& head,
                                   const Tensor& teacher_hidden, const Tensor& teacher_head,
                                   std::span<const int64_t> teacher_rows, std::span<const int32_t> targets,
                                   const DivergenceOptions& options, float scale) {
  CHECK(hidden.cols() == head.cols() && teacher_hidden.cols() == teacher_head.cols());
  CHECK(std::ssize(teacher_rows) == hidden.rows() && std::ssize(targets) == hidden.rows());
  CHECK(options.temperature > 0);
  std::vector<int64_t> met, theirs, alone;
  for (size_t i = 0; i < targets.size(); ++i) {
    CHECK(targets[i] < head.dim(0) && teacher_rows[i] < teacher_hidden.rows());
    if (targets[i] < 0) continue;
    (teacher_rows[i] < 0 ? alone : met).push_back(static_cast<int64_t>(i));
    if (teacher_rows[i] >= 0) theirs.push_back(teacher_rows[i]);
  }
  CrossEntropyResult result{0, std::ssize(met) + std::ssize(alone)};
  if (!met.empty()) {
    result.loss_sum += over_both_logits(
        ctx, gather_rows(ctx, hidden, met), head, gather_rows(ctx, teacher_hidden, theirs), teacher_head,
        head.dim(0), teacher_head.dim(0), at_rows(targets, met), options, scale,
        [&](std::span<float> teacher, std::span<const float> q, std::span<float> log_q) {
          return distance_of_row(ctx, options.temperature, teacher, q, log_q);
        });
  }
  if (!alone.empty() && options.hard_weight != 0) {
    const auto hard = cross_entropy(ctx, gather_rows(ctx, hidden, alone), head, at_rows(targets, alone),
                                    scale * options.hard_weight);
    result.loss_sum += static_cast<double>(options.hard_weight) * hard.loss_sum;
  }
  return result;
}

}  // namespace frugal::ops
