// A table of words and how often each was seen: open addressing over one arena of bytes, as counting a corpus
// needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace frugal {

class WordCounts {
 public:
  struct Word {
    uint64_t begin = 0;  // in the arena
    uint32_t bytes = 0;
    uint32_t hash = 0;
    int64_t count = 0;  // 0: a free slot
  };
  static uint64_t hash(std::string_view word);

  void add(std::string_view word, uint64_t hash, int64_t count);
  size_t size() const { return size_; }
  std::string_view text(const Word& word) const {
    return std::string_view(arena_).substr(word.begin, word.bytes);
  }
  template <class F>
  void for_each(F f) const {
    for (const Word& w : slots_) {
      if (w.count > 0) f(text(w), w);
    }
  }
  void clear();
  // Forgets the words seen at most `count` times.
  void drop_rare(int64_t count);

 private:
  void grow(size_t slots);
  std::string arena_;
  std::vector<Word> slots_;
  size_t size_ = 0;
};

}  // namespace frugal
