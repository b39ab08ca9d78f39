// What verbs read besides models: prompts and lists of token ids.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace frugal::cli {

// All of standard input.
std::string read_standard_input();
// The text itself, or standard input for "-".
std::string text_or_input(const std::string& text);

// Token ids from a JSON file ("-": standard input): [..], [[..], ..] or {"ids": [..]} as `tokenizer encode
// --json` prints them. Error naming the file and the place for anything else; ids fit in int32 and are not
// negative, and no list is empty.
std::vector<std::vector<int32_t>> read_ids(const std::string& path);

}  // namespace frugal::cli
