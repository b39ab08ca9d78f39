#include "text/word_counts.h"

#include <algorithm>
#include <cstring>

namespace frugal {

uint64_t WordCounts::hash(std::string_view word) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15u;
  uint64_t state = word.size() * kMultiplier;
  for (size_t i = 0; i < word.size(); i += 8) {
    uint64_t part = 0;
    std::memcpy(&part, word.data() + i, std::min<size_t>(8, word.size() - i));
    state = (state ^ part) * kMultiplier;
    state ^= state >> 32;
  }
  return state;
}

void WordCounts::add(std::string_view word, uint64_t hash, int64_t count) {
  if (size_ * 2 >= slots_.size()) grow(std::max<size_t>(1024, slots_.size() * 2));
  const auto low = static_cast<uint32_t>(hash);
  const uint64_t mask = slots_.size() - 1;
  for (uint64_t at = low & mask;; at = (at + 1) & mask) {
    Word& slot = slots_[at];
    if (slot.count == 0) {
      slot = {arena_.size(), static_cast<uint32_t>(word.size()), low, count};
      arena_ += word;
      ++size_;
      return;
    }
    if (slot.hash == low && text(slot) == word) {
      slot.count += count;
      return;
    }
  }
}

void WordCounts::grow(size_t slots) {
  std::vector<Word> old(slots);
  old.swap(slots_);
  for (const Word& word : old) {
    if (word.count == 0) continue;
    uint64_t at = word.hash & (slots - 1);
    while (slots_[at].count != 0) at = (at + 1) & (slots - 1);
    slots_[at] = word;
  }
}

void WordCounts::clear() {
  arena_.clear();
  std::fill(slots_.begin(), slots_.end(), Word{});
  size_ = 0;
}

void WordCounts::drop_rare(int64_t count) {
  WordCounts kept;
  for_each([&](std::string_view word, const Word& w) {
    if (w.count > count) kept.add(word, w.hash, w.count);
  });
  *this = std::move(kept);
}

}  // namespace frugal
