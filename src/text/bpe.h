// Byte-pair encoding of one word: merge the pair of lowest rank, leftmost first, until none is left. Words
// and tokens are bytes; merging starts from bytes, or from characters (SentencePiece). encode() is const and
// safe from any number of threads; a shared cache remembers short words.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace frugal {

struct BpeMerge {
  int32_t left, right, merged;
};

struct BpeRules {
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  int32_t unknown = -1;        // what stands for what has no token; -1: that is an Error when it is met
  bool characters = false;     // merging starts from characters
  bool fuse_unknown = false;   // neighbouring unknown characters are one
  std::vector<int32_t>
      byte_ids;  // 256 or none: a character without a token is these, if all of its bytes have one
};

class BpeModel {
 public:
  // tokens[id]: the bytes of a token that words may become; an empty view where there is none. The views must
  // outlive the model.
  BpeModel(const std::vector<std::string_view>& tokens, const std::vector<BpeMerge>& merges,
           BpeRules options);
  ~BpeModel();
  BpeModel(BpeModel&&) noexcept;
  BpeModel& operator=(BpeModel&&) noexcept;

  // Appends the ids of `word` (not empty).
  void encode(std::string_view word, std::vector<int32_t>& out) const;
  // The id of a whole token, or -1.
  int32_t find(std::string_view bytes) const;

 private:
  struct Entry {
    uint64_t pair = ~uint64_t{0};
    int32_t rank = 0, merged = 0;
  };
  class Cache;
  const Entry* find_merge(int32_t left, int32_t right) const;
  void encode_uncached(std::string_view word, std::vector<int32_t>& out) const;
  void symbols_of(std::string_view word, std::vector<int32_t>& out) const;
  void characters_of(std::string_view word, std::vector<int32_t>& out) const;
  void merge_short(std::vector<int32_t>& ids, size_t from) const;
  void merge_long(std::vector<int32_t>& ids, size_t from) const;

  std::unordered_map<std::string_view, int32_t> ids_;
  std::vector<Entry> merges_;  // open addressing, a power of two, at most half full
  uint64_t mask_ = 0;
  int32_t byte_ids_[256];
  BpeRules options_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace frugal
