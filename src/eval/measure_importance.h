// Makes an importance matrix: runs a model over text and sums the squares of what every matrix takes in.
#pragma once

#include <functional>

#include "core/context.h"
#include "data/windows.h"
#include "io/importance.h"
#include "models/model.h"

namespace frugal {

// All windows, `rows` at a time. Of every product's matrix, experts by what was routed to them; tensors that
// no product takes (norms, an embedding that is not the head) and modules a forward does not run (MTP) are
// absent. The same for any number of threads. `progress` gets the share that is done.
Importance measure_importance(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows,
                              const std::function<void(double)>& progress = {});

}  // namespace frugal
