// The merging half of BPE training: from counted words to the list of merges.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"

namespace frugal {

struct CountedWord {
  std::string_view bytes;
  int64_t count;
};

struct LearnedMerges {
  std::vector<std::string> tokens;  // bytes of each new token, in order of ids from first_new_id on
  std::vector<BpeMerge> merges;     // in order of rank
};

// byte_ids[b] is the id of byte b; ids below first_new_id are taken. Stops at `new_tokens` tokens or when the
// best pair occurs fewer than min_frequency times. The order of `words` does not matter.
LearnedMerges learn_merges(const std::vector<CountedWord>& words, const std::vector<int32_t>& byte_ids,
                           int32_t first_new_id, int64_t new_tokens, int64_t min_frequency);

}  // namespace frugal
