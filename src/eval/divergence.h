// How far changed models (quantised ones) are from the original, on text: perplexity and Kullback-Leibler
// divergence of their next-token distributions.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/context.h"
#include "data/windows.h"
#include "models/model.h"

namespace frugal {

struct Divergence {
  double nats = 0;      // of the text, per target: exp() is the perplexity
  double kl = 0;        // mean over targets of KL(original || changed), nats
  double kl_99 = 0;     // the largest but for one in a hundred
  double same_top = 0;  // share of targets where both find the same token most likely
  int64_t targets = 0;
};

struct Divergences {
  double nats = 0;  // of the original
  std::vector<Divergence> changed;
};

// All windows, `rows` at a time; the original runs once for all. Sums in double, the same for any number of
// threads. `progress` gets the share that is done.
Divergences compare_models(Context& ctx, Model& original, std::span<Model* const> changed,
                           ValidationWindows& windows, int64_t rows,
                           const std::function<void(double)>& progress = {});

}  // namespace frugal
