// Another program, given a text and asked for one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace frugal {

// Runs `arguments` (the program first, found as a shell finds it), writes `input` to its standard input and
// returns what it writes to its standard output; its standard error goes where ours does. Error when it
// cannot be started, ends with another status than 0, or has not ended after `seconds` (then it is killed,
// with what it has started).
std::string run_subprocess(const std::vector<std::string>& arguments, std::string_view input, double seconds);

}  // namespace frugal
