// How much the parts of a model matter, by what they do on a text: what is left out of a pruned model is what
// mattered least. One forward pass over the text measures all of it (Minitron, Muralidharan et al. 2024,
// §2.2; ShortGPT, Men et al. 2024, §3.1).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/context.h"
#include "data/windows.h"
#include "models/model.h"

namespace frugal {

// By layer as parameters are called: those of multi-token-prediction modules follow the others.
struct UnitImportance {
  // Block influence: 1 - the mean cosine of a token's rows before and after the block. Without MTP modules.
  std::vector<double> blocks;
  std::map<int64_t, std::vector<double>> heads;    // mean L2 norm of what a head puts out, before o_proj
  std::map<int64_t, std::vector<double>> experts;  // share of all routing weight that went there
  // By feed-forward or expert ("model.layers.0.mlp"): mean |activation| of a neuron, before the down
  // projection. Of an expert to which no token went: the norm of the neuron's own weights.
  std::map<std::string, std::vector<double>> neurons;
  std::vector<double> channels;  // (D) mean |x| behind each of the norms, summed over them
  // By norm ("model.norm"): mean square of each channel behind it; norms that none but the head's own MTP
  // module reads are absent.
  std::map<std::string, std::vector<double>> norm_squares;
  int64_t tokens = 0;
};

// All windows, `rows` at a time; the same for any number of threads. `progress` gets the share that is done.
// Error when the text is too short to run every part.
UnitImportance measure_unit_importance(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows,
                                       const std::function<void(double)>& progress = {});

}  // namespace frugal
