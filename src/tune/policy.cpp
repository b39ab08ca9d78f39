#include "tune/policy.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace frugal {

std::vector<double> group_advantages(std::span<const double> rewards, int64_t group, bool by_deviation) {
  CHECK(group >= 2 && std::ssize(rewards) % group == 0);
  std::vector<double> advantages;
  const auto size = static_cast<size_t>(group);
  for (size_t begin = 0; begin < rewards.size(); begin += size) {
    const auto own = rewards.subspan(begin, size);
    const auto [low, high] = std::minmax_element(own.begin(), own.end());
    double mean = 0, squares = 0;
    for (const double reward : own) mean += reward / static_cast<double>(group);
    for (const double reward : own) squares += (reward - mean) * (reward - mean);
    const double deviation = by_deviation ? std::sqrt(squares / static_cast<double>(group - 1)) + 1e-4 : 1;
    for (const double reward : own) advantages.push_back(*low == *high ? 0 : (reward - mean) / deviation);
  }
  return advantages;
}

double silent_groups(std::span<const double> rewards, int64_t group) {
  CHECK(group >= 2 && std::ssize(rewards) % group == 0);
  int64_t silent = 0;
  const auto size = static_cast<size_t>(group);
  for (size_t begin = 0; begin < rewards.size(); begin += size) {
    const auto own = rewards.subspan(begin, size);
    silent += std::all_of(own.begin(), own.end(), [&](double reward) { return reward == own[0]; });
  }
  return static_cast<double>(silent * group) / static_cast<double>(std::max<size_t>(1, rewards.size()));
}

TokenLoss token_loss(double now, double old, double reference, double advantage, const PolicyBounds& bounds) {
  const double ratio = std::exp(now - old);
  const double bounded = std::clamp(ratio, 1 - bounds.low, 1 + bounds.high);
  TokenLoss out;
  out.clipped = bounded * advantage < ratio * advantage;
  out.loss = -(out.clipped ? bounded : ratio) * advantage;
  out.gradient = out.clipped ? 0 : -ratio * advantage;
  if (bounds.beta > 0) {
    const double away = std::exp(reference - now);
    out.kl = away - (reference - now) - 1;
    out.loss += bounds.beta * out.kl;
    out.gradient += bounds.beta * (1 - away);
  }
  return out;
}

}  // namespace frugal
