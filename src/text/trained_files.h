// The files of a tokenizer that we train, as text: tokenizer.json and tokenizer_config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/bpe_merges.h"

namespace frugal {

// The "pre_tokenizer" part: Qwen2's pattern, then bytes.
std::string trained_pre_tokenizer();
// byte -> id. Special tokens come first, then the bytes in the order of their characters, as HF sorts them.
std::vector<int32_t> trained_byte_ids();
std::string trained_tokenizer_json(const LearnedMerges& learned);
std::string trained_tokenizer_config();

}  // namespace frugal
