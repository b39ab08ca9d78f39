// Turns a prompt's ids into streamed text: engine, decoding of partial characters and stop strings put
// together.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "cli/open_model.h"

namespace frugal::cli {

struct ReplyRequest {
  std::vector<int32_t> prompt;
  int64_t max_tokens = 0;  // 0: until the context is full
  SamplingOptions sampling;
  std::vector<int32_t> stop_ids;
  std::vector<std::string> stop_strings;
  const std::atomic<bool>* cancel = nullptr;  // when true the reply ends
};

struct Reply {
  std::string text;       // without the stop string
  std::string reason;     // "stop", "length" or "cancelled"
  Generation generation;  // its ids include those of a stop string
  double tokens_per_second() const;
};

// `show` gets every piece of text as soon as it can be shown.
Reply stream_reply(Engine& engine, const Tokenizer& tokenizer, const ReplyRequest& request,
                   const std::function<void(std::string_view)>& show);

// What drafts did, as JSON and as a line of text.
Json draft_json(const DraftStats& stats);
std::string draft_line(const DraftStats& stats);

// The ids of a text to be continued: BOS as the tokenizer has it, special tokens in the text recognised, no
// EOS. Error when nothing is left to start from.
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text);

}  // namespace frugal::cli
