#include "autograd/ops/soft_loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace frugal::ops {

std::vector<float> log_softmax(const Context& ctx, float temperature, std::span<float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
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

double finish_row(const Context& ctx, const DivergenceOptions& o, int32_t target, float scale,
                  std::span<float> logits, const SoftLoss& soft) {
  const auto at = static_cast<size_t>(target);
  double loss = 0;
  std::vector<float> hard;
  if (o.hard_weight != 0) {
    std::vector<float> log_q(logits.begin(), logits.end());
    hard = log_softmax(ctx, 1, log_q);
    loss -= static_cast<double>(o.hard_weight) * static_cast<double>(log_q[at]);
  }
  const std::vector<float> q = log_softmax(ctx, o.temperature, logits);
  loss += static_cast<double>(o.weight) * soft(q, logits);
  double mean = 0;
  for (const float qg : logits) mean += static_cast<double>(qg);
  const float factor = scale * o.weight / o.temperature, shift = static_cast<float>(mean);
  for (size_t j = 0; j < q.size(); ++j) logits[j] = factor * (logits[j] - q[j] * shift);
  if (o.hard_weight != 0) {
    for (size_t j = 0; j < q.size(); ++j) logits[j] += scale * o.hard_weight * hard[j];
    logits[at] -= scale * o.hard_weight;
  }
  return loss;
}

}  // namespace frugal::ops
