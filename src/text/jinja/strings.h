// String helpers that keep track of characters and marks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace frugal::jinja {

// Where each character begins, and the end: one more entry than characters. A byte of no character counts as
// one.
std::vector<size_t> char_offsets(std::string_view text);
size_t char_count(std::string_view text);

enum class Side { left, right, both };
// Python's strip: white space, or the characters in `chars`.
Text strip(const Text& text, Side side, const std::string* chars);
enum class Case { upper, lower, capitalize, title, title_words };
// title is str.title(); title_words is Jinja's filter. A changed text is all input or none of it.
Text change_case(const Text& text, Case how);
// Python's replace; a count below 0 means all.
Text replace(const Text& text, const Text& from, const Text& to, int64_t count);
// Python's split on `separator` (white space runs when null), from the right when asked.
std::vector<Text> split(const Text& text, const std::string* separator, int64_t most, bool from_right);
std::vector<Text> split_lines(const Text& text, bool keep_ends);

}  // namespace frugal::jinja
