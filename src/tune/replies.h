// The model's own replies to many prompts, written together by the engine.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "text/tokenizer.h"

namespace frugal {

struct ReplyOptions {
  double temperature = 1;
  int64_t max_tokens = 0;
  std::vector<int32_t> stop_ids;
  std::vector<std::string> stop_texts;
  int64_t context = 0;  // prompt and reply together have at most so many tokens; 0: as many as come
};

struct OwnReply {
  std::vector<int32_t> ids;  // all that was chosen, the token that ended it included
  std::string text;          // without what ended it
  bool ended = false;        // by a stop id or text, not for want of room
};

// A reply to each prompt, as many at a time as the engine has slots. Reply i is a function of prompts[i],
// seeds[i], the weights and `options`: the others, slots and threads do not matter. Prompts are
// shorter than `context`, or leave room for max_tokens in the engine's.
std::vector<OwnReply> own_replies(Engine& engine, ThreadPool& pool, const Tokenizer& tokenizer,
                                  std::span<const std::vector<int32_t>> prompts,
                                  std::span<const uint64_t> seeds, const ReplyOptions& options);

}  // namespace frugal
