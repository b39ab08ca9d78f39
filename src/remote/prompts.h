// What is asked: rows of JSON Lines as chat messages.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "remote/options.h"

namespace frugal::remote {

struct Prompt {
  std::string messages_json;  // a list of {"role", "content", ...} that ends before the answer
  std::optional<std::string> reference;
  std::string where;  // FILE:LINE
};

// Rows are {"prompt": "text"} or {"messages": [...]}, perhaps with "answer" (text or a number). An answer at
// the end of "messages" is asked for anew. `system` goes before rows that have no system message. The same
// messages twice are one prompt: `duplicates` counts the rest. Error with FILE:LINE for a row that is none,
// and for the same prompt with two references.
std::vector<Prompt> read_prompts(const AskOptions& options, int64_t& duplicates);

}  // namespace frugal::remote
