// Chooses the kernels for this machine. Tables are constant data; nothing here has state.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace frugal::kernels {

// Tables that this machine can run, slowest first ("scalar" is always there).
const std::vector<const Table*>& available();

// The table of that name if this machine can run it, else null.
const Table* find(std::string_view name);

// The fastest table this machine can run.
const Table& best();

// The table named by the user (FRUGAL_KERNELS, which the command line passes in); empty means best().
// UsageError for an unknown name, Error for one that this machine cannot run.
const Table& select(std::string_view forced);

}  // namespace frugal::kernels
