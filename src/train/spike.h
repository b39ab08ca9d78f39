// Notices when a loss leaves its path. A spike is a loss more than `threshold` standard deviations and half a
// nat above the mean of the latest steps, or a loss or gradient norm that is not finite.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "core/json.h"

namespace frugal {

class SpikeDetector {
 public:
  static constexpr size_t kWindow = 128;
  static constexpr size_t kLeast = 16;  // losses that must be known before one can be called a spike
  static constexpr double kLeastRise = 0.5;

  explicit SpikeDetector(double threshold) : threshold_(threshold) {}
  // Empty when the step is sound; otherwise what is wrong with it, for people.
  std::string examine(double loss, double gradient_norm) const;
  void accept(double loss);
  double mean() const;  // of the latest losses; 0 without any

  Json save() const;
  void restore(const Json& state, const std::string& where);

 private:
  double threshold_;
  std::deque<double> losses_;
};

}  // namespace frugal
