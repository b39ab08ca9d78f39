// Where this user's pulled models are.
#pragma once

#include "cli/cli.h"
#include "core/files.h"

namespace frugal::cli {

// FRUGAL_MODELS, or frugal/models in the user's data directory (XDG_DATA_HOME) or cache (~/.cache); empty
// when there is no such directory.
fs::path model_store(const Environment& environment);

}  // namespace frugal::cli
