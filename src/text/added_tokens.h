// Added tokens: strings that are one id wherever they stand, cut out of the text before anything else sees
// it. Special ones (control: BOS, role marks) are only recognised where the caller says that the text is
// trusted.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/thread_pool.h"
#include "text/normalizer.h"

namespace frugal {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // only between characters that are no \w
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // matched in the normalised text, not in the text as given
  bool special = false;
};

// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin = 0, end = 0;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  struct Rules {
    bool special = false;            // whether special tokens are recognised at all
    std::span<const TextSpan> data;  // sorted spans inside which they are not
  };
  // Leftmost-longest matches among the tokens with this `normalized`. Calls text(part) for what lies between
  // and token(id) for each match, in order.
  void split(std::string_view input, bool normalized, const Rules& rules,
             FunctionRef<void(std::string_view)> text, FunctionRef<void(int32_t)> token) const;

  bool any(bool normalized) const { return !tries_[normalized].children.empty(); }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  struct Trie {
    std::unordered_map<uint64_t, uint32_t> children;  // node * 256 + byte -> node
    std::vector<int32_t> token{-1};                   // by node: index into tokens_
    bool first[256] = {};
    void add(std::string_view content, int32_t index);
    // Longest token at the start of `text`: its index and length, or -1.
    int32_t find(std::string_view text, size_t& length) const;
  };
  std::vector<AddedToken> tokens_;
  Trie tries_[2];  // as given, normalised
};

}  // namespace frugal
