// What a model is taught from: a line of JSON Lines is one example, in any of the layouts that are in use.
//
//   {"messages": [{"role", "content"}, ...]}                            the chat layout of most tools
//      perhaps with "logprobs" of the last message, as frugal distill ask has them
//   {"conversations": [{"from": "human", "value"}, ...]}                ShareGPT
//   {"instruction", "input" (may be left out), "output"}                Alpaca; "system" may stand beside
//   them
//   {"prompt": [{"role", "content"}, ...], "completion": [...]}         only the completion is learnt
//   {"prompt": "text", "completion": "text"}                            plain text without a chat template
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/source.h"

namespace frugal {

struct Example {
  // A conversation as templates take it: a list of {"role", "content", ...}; other keys of a message
  // (tool_calls, reasoning_content) are kept. Null for plain text.
  std::string messages_json;
  size_t learnt_from = 0;          // messages before this one are given, whoever speaks
  std::string prompt, completion;  // plain text
  std::string where;               // FILE:LINE, for errors
  std::string logprobs_json;       // what a remote teacher said of the last message (tune/soft_targets.h)

  bool plain() const { return messages_json.empty(); }
};

// Error starting with FILE:LINE that says which field is missing or of another type.
Example parse_example(const Record& record);

// All examples of the files that `patterns` stand for (data/source.h); Error when there is none. `where`
// names the patterns' key in errors.
std::vector<Example> read_examples(const std::vector<std::string>& patterns, std::string_view where);

}  // namespace frugal
