// Group relative policy optimisation: GRPO (Shao et al. 2024, DeepSeekMath, eq. 3 and 4; Guo et al. 2025,
// DeepSeek-R1), with the two bounds and the token-level mean of DAPO (Yu et al. 2025, eq. 8).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace frugal {

// (reward - mean of its group) / (deviation of its group + 1e-4), the deviation of a sample (n - 1); without
// `by_deviation` not divided (Liu et al. 2025, "Dr. GRPO"). A group whose rewards are all the same gives
// zeros. `rewards` holds whole groups one behind the other.
std::vector<double> group_advantages(std::span<const double> rewards, int64_t group, bool by_deviation);
// Groups whose rewards are all the same teach nothing: their share.
double silent_groups(std::span<const double> rewards, int64_t group);

struct PolicyBounds {
  double low = 0.2, high = 0.2;
  double beta = 0;  // weight of the KL divergence
};

// Of one token, from its log-probability under the model, under the model that wrote it (`old`) and under the
// reference: with the ratio r = exp(now - old),
//   loss = -min(r A, clip(r, 1 - low, 1 + high) A) + beta kl,   kl = exp(ref - now) - (ref - now) - 1
struct TokenLoss {
  double loss = 0, gradient = 0;  // d loss / d now
  double kl = 0;                  // an estimate that is never negative (k3; Schulman 2020)
  bool clipped = false;           // the bounds took the ratio's gradient away
};
TokenLoss token_loss(double now, double old, double reference, double advantage, const PolicyBounds& bounds);

}  // namespace frugal
