// What people are told when a hub says no.
#pragma once

#include "hub/download.h"

namespace frugal::hub {

// Error with what the status means for a user and what to do.
[[noreturn]] void fail_status(const HttpHead& head, const std::string& url, bool with_token);

}  // namespace frugal::hub
