// Which answers are good enough to learn from, by rules alone, as in the rejection sampling of DeepSeek-R1
// (2025, §2.3.3). Nothing here knows a language: length is in characters, repetition in pieces of
// characters.
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

// The share of 16-character pieces that occurred before in the text, 0 to 1; 0 for texts of fewer than 32.
double repeated_share(std::string_view text);

}  // namespace frugal::remote
