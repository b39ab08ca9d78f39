// Which answers are good enough to learn from, by rules alone, as in the rejection sampling of DeepSeek-R1
// (2025, §2.3.3). Nothing here knows a language: numbers are ASCII digits, length is in characters,
// repetition in pieces of characters.
#pragma once

#include <string>
#include <string_view>

#include "remote/options.h"

namespace frugal::remote {

struct Judged {
  std::string_view content, finish_reason, refusal;
  const std::string* reference = nullptr;  // the prompt's answer, where it has one
};

// Why an answer is dropped: "refused", "unfinished", "empty", "short", "long", "repetitive", "wrong"; empty:
// it is kept. A prompt without reference cannot be wrong.
std::string_view reason_to_drop(const Judged& answer, const FilterOptions& options);

// What stands in the last \boxed{...}, else behind the last ####, else the whole text; white space at the
// ends is cut and runs of it are one space.
std::string final_answer(std::string_view text);
// The last number of final_answer(text), in one spelling ("-1234.5" for "−1,234.50"); empty when there is
// none.
std::string final_number(std::string_view text);
// The share of 16-character pieces that occurred before in the text, 0 to 1; 0 for texts of fewer than 32.
double repeated_share(std::string_view text);

}  // namespace frugal::remote
