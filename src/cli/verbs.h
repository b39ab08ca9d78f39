// One declaration per verb; the list that makes it known is in verbs.cpp. A verb's file declares its
// arguments and does its work.
#pragma once

#include "cli/cli.h"

namespace frugal::cli {

void declare_info(Command& command, const Environment& environment);

}  // namespace frugal::cli
