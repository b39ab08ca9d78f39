// UTF-8 as the Unicode standard defines it (no overlong forms, no surrogates, at most U+10FFFF).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace frugal {

// How many leading bytes are valid UTF-8: text.size() when all are.
size_t valid_utf8_prefix(std::string_view text);

// Every maximal invalid run becomes one U+FFFD (the practice the standard recommends); valid text comes back
// unchanged.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace frugal
