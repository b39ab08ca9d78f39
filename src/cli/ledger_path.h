// Where this user's ledger is.
#pragma once

#include "cli/cli.h"
#include "core/files.h"

namespace frugal::cli {

// FRUGAL_LEDGER, or frugal/ledger.sqlite in the user's data directory. Error when there is no such directory.
fs::path ledger_path(const Environment& environment);

}  // namespace frugal::cli
