// Makes the smaller model. What of it is worth keeping says a plan; what it lost is got back by training,
// best by learning from the original (distillation).
#pragma once

#include <functional>
#include <memory>

#include "prune/plan.h"

namespace frugal {

// Its parameters are those parts of the original's that the plan keeps; what is not cut shares the original's
// memory. What is cut keeps its number format, or has `packed` where that comes in blocks. The original's
// weights lie as Hugging Face has them.
std::unique_ptr<Model> prune_model(Context& ctx, Model& original, const PrunePlan& plan,
                                   const Format& packed);

// By layer: how much the text's loss (nats per token) grows when that layer alone is left out. One pass over
// the text a layer.
std::vector<double> loss_without_layers(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows,
                                        const std::function<void(double)>& progress = {});

}  // namespace frugal
