// Notices when a loss leaves its path. A spike is a loss more than `threshold` standard deviations and half a
// nat above the mean of the latest steps, or a loss or gradient norm that is not finite. A loss that climbs
// slowly, or from the first steps on, makes no spike: half as much again as in the beginning, or as guessing
// evenly among all tokens would have, is trouble as well.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "core/json.h"

namespace frugal {

class SpikeDetector {
 public:
  static constexpr size_t kWindow = 128;
  static constexpr size_t kLeast = 16;  // losses that must be known before one can be called a spike
  static constexpr double kLeastRise = 0.5;
  static constexpr double kDivergence = 1.5;

  // `even_guess`: nats per target of a model that knows nothing, the logarithm of the vocabulary.
  SpikeDetector(double threshold, double even_guess) : threshold_(threshold), even_guess_(even_guess) {}
  // Empty when the step is sound; otherwise what is wrong with it, for people.
  std::string examine(double loss, double gradient_norm) const;
  void accept(double loss);
  double mean() const;  // of the latest losses; 0 without any

  Json save() const;
  void restore(const Json& state, const std::string& where);

 private:
  double threshold_, even_guess_;
  std::optional<double> first_;  // loss of the run
  std::deque<double> losses_;
};

}  // namespace frugal
