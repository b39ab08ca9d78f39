// What a text that reasons comes to. Knows no language: numbers are ASCII digits.
#pragma once

#include <string>
#include <string_view>

namespace frugal {

// What stands in the last \boxed{...}, else behind the last ####, else the whole text; white space at the
// ends is cut and runs of it are one space.
std::string final_answer(std::string_view text);
// The last number of final_answer(text), in one spelling ("-1234.5" for "−1,234.50"); empty when there is
// none. A minus counts as a sign unless a digit, a letter or a closing bracket stands before it; a comma
// between groups of three digits is part of the number.
std::string final_number(std::string_view text);

}  // namespace frugal
