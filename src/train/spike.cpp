#include "train/spike.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace frugal {

std::string SpikeDetector::examine(double loss, double gradient_norm) const {
  if (!std::isfinite(loss)) return fmt::format("the loss is {}", loss);
  if (!std::isfinite(gradient_norm)) return fmt::format("the gradient norm is {}", gradient_norm);
  const double worst = kDivergence * std::max(first_.value_or(loss), even_guess_);
  if (loss > worst) {
    return fmt::format(
        "the loss is {:.4f}, above half as much again as in the beginning ({:.4f}) or as an even guess "
        "({:.4f}): training diverges",
        loss, first_.value_or(loss), even_guess_);
  }
  if (losses_.size() < kLeast) return {};
  const double mean = this->mean();
  double squares = 0;
  for (const double x : losses_) squares += (x - mean) * (x - mean);
  const double deviation = std::sqrt(squares / static_cast<double>(losses_.size()));
  if (loss - mean <= kLeastRise || loss - mean <= threshold_ * deviation) return {};
  return fmt::format("the loss is {:.4f}, the latest {} steps had {:.4f} with a standard deviation of {:.4f}",
                     loss, losses_.size(), mean, deviation);
}

void SpikeDetector::accept(double loss) {
  if (!first_) first_ = loss;
  losses_.push_back(loss);
  if (losses_.size() > kWindow) losses_.pop_front();
}

double SpikeDetector::mean() const {
  double sum = 0;
  for (const double x : losses_) sum += x;
  return losses_.empty() ? 0 : sum / static_cast<double>(losses_.size());
}

Json SpikeDetector::save() const {
  return {{"first", first_ ? Json(*first_) : Json()},
          {"latest", std::vector<double>(losses_.begin(), losses_.end())}};
}

void SpikeDetector::restore(const Json& state, const std::string& where) {
  const bool sound = state.is_object() && state.contains("first") && state.contains("latest") &&
                     (state["first"].is_number() || state["first"].is_null()) && state["latest"].is_array() &&
                     std::ranges::all_of(state["latest"], [](const Json& loss) { return loss.is_number(); });
  if (!sound) fail("{}: 'losses' should hold the first loss and a list of the latest ones", where);
  losses_.clear();
  for (const Json& loss : state["latest"]) accept(loss.get<double>());
  first_.reset();
  if (state["first"].is_number()) first_ = state["first"].get<double>();
}

}  // namespace frugal
