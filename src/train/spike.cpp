#include "train/spike.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace frugal {

std::string SpikeDetector::examine(double loss, double gradient_norm) const {
  if (!std::isfinite(loss)) return fmt::format("the loss is {}", loss);
  if (!std::isfinite(gradient_norm)) return fmt::format("the gradient norm is {}", gradient_norm);
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
  losses_.push_back(loss);
  if (losses_.size() > kWindow) losses_.pop_front();
}

double SpikeDetector::mean() const {
  double sum = 0;
  for (const double x : losses_) sum += x;
  return losses_.empty() ? 0 : sum / static_cast<double>(losses_.size());
}

Json SpikeDetector::save() const {
  return std::vector<double>(losses_.begin(), losses_.end());
}

void SpikeDetector::restore(const Json& state, const std::string& where) {
  losses_.clear();
  if (!state.is_array()) fail("{}: the losses of the latest steps should be a list", where);
  for (const Json& loss : state) {
    if (!loss.is_number()) fail("{}: the losses of the latest steps should be numbers", where);
    accept(loss.get<double>());
  }
}

}  // namespace frugal
