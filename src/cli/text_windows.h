// Text files as windows of a model's tokens, for verbs that measure on text. Documents are framed as in
// training (BOS text EOS) and joined; disjoint windows cover all of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/open_model.h"
#include "data/windows.h"

namespace frugal::cli {

// --context, or what is usual: the model's longest, at most 2048. UsageError outside what the model reaches.
int64_t window_length(const ModelShape& shape, const std::optional<int64_t>& wanted);

// Of about `max_tokens` tokens (whole documents, evenly spread), or all. Error when there is no text in
// `patterns`, or the tokenizer has ids that the model lacks.
ValidationWindows text_windows(Runtime& runtime, const OpenModel& model,
                               const std::vector<std::string>& patterns, int64_t length,
                               int64_t max_tokens = 0);

// How many of them go through a model together, when what it says of each token is looked at and not kept.
int64_t windows_at_once(int64_t length);

}  // namespace frugal::cli
