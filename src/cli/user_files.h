// Files of this user that verbs of recipes read.
#pragma once

#include "cli/cli.h"
#include "core/files.h"
#include "meter/prices.h"

namespace frugal::cli {

// `given` (a variable of XDG), else `below_home` of `home`, and frugal in it; empty when there is neither.
fs::path directory_of(const std::string& given, const std::string& home, const char* below_home);

// Of the configuration file; defaults without one.
Prices user_prices(const Environment& environment);

// The ledger's file, or an empty path where there is no place for one.
fs::path ledger_or_none(const Environment& environment);

// A path or name as a shell takes it.
std::string shell_word(const std::string& text);

}  // namespace frugal::cli
