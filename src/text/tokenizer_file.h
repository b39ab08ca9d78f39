// A parsed tokenizer.json. The vocabulary and merges (100,000s of entries) are read straight into vectors;
// everything else stays JSON. Memory is bounded by the file's size.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace frugal {

struct TokenizerFile {
  std::vector<std::pair<std::string, int64_t>> vocab;       // as written, in the file's order
  std::vector<std::pair<std::string, std::string>> merges;  // both spellings: "a b" and ["a", "b"]
  Json rest;  // the document without model.vocab and model.merges
};

// Error that starts with `where` for text that is not JSON or where vocab or merges have another form.
TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& where);

}  // namespace frugal
