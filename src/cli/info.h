// The figures of `frugal info`, for its tests and for others that report on a model.
#pragma once

#include "core/json.h"
#include "models/model.h"

namespace frugal::cli {

// The contract's JSON object; the weights need not be loaded. `context`: tokens that attention sees.
Json model_info(Model& model, int64_t context);

}  // namespace frugal::cli
