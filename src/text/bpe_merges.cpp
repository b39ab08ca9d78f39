#include "text/bpe_merges.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"

namespace frugal {
namespace {

uint64_t pair_of(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}
struct PairHash {
  size_t operator()(uint64_t x) const {
    x *= 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(x ^ (x >> 29));
  }
};

struct PairInfo {
  int64_t count = 0;
  std::vector<uint32_t> words;  // where it appeared since it was last put in the queue; may repeat a word
};
struct Candidate {
  int64_t count;
  uint64_t pair;
  std::vector<uint32_t> words;
};
// Most frequent first, then the lower pair of ids.
bool worse(const Candidate& a, const Candidate& b) {
  return a.count != b.count ? a.count < b.count : a.pair > b.pair;
}

class Learner {
 public:
  Learner(const std::vector<CountedWord>& words, const std::vector<int32_t>& byte_ids, int32_t first_new_id)
      : first_new_id_(first_new_id), known_(static_cast<size_t>(first_new_id)) {
    for (int byte = 0; byte < 256; ++byte) {
      const int32_t id = byte_ids[static_cast<size_t>(byte)];
      known_[static_cast<size_t>(id)] = std::string(1, static_cast<char>(byte));
      ids_.emplace(known_[static_cast<size_t>(id)], id);
    }
    for (const CountedWord& word : words) {
      const auto begin = static_cast<uint64_t>(symbols_.size());
      for (const char c : word.bytes) symbols_.push_back(byte_ids[static_cast<unsigned char>(c)]);
      words_.push_back({begin, static_cast<uint32_t>(word.bytes.size()), word.count});
    }
    for (uint32_t w = 0; w < words_.size(); ++w) {
      const int32_t* s = symbols_.data() + words_[w].begin;
      for (uint32_t i = 0; i + 1 < words_[w].length; ++i) change(pair_of(s[i], s[i + 1]), words_[w].count, w);
    }
    enqueue_touched();
  }

  LearnedMerges run(int64_t new_tokens, int64_t min_frequency) {
    while (static_cast<int64_t>(known_.size()) - first_new_id_ < new_tokens && !queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), worse);
      Candidate top = std::move(queue_.back());
      queue_.pop_back();
      const int64_t count = pairs_[top.pair].count;
      if (count != top.count) {  // it lost or gained occurrences since: back to its place
        if (count > 0) push(count, top.pair, std::move(top.words));
        continue;
      }
      if (count < std::max<int64_t>(1, min_frequency)) break;
      merge(top);
    }
    return result();
  }

 private:
  struct Word {
    uint64_t begin;
    uint32_t length;
    int64_t count;
  };

  void change(uint64_t pair, int64_t by, uint32_t word) {
    PairInfo& info = pairs_[pair];
    info.count += by;
    if (by < 0) return;
    if (info.words.empty()) touched_.push_back(pair);
    if (info.words.empty() || info.words.back() != word) info.words.push_back(word);
  }
  void push(int64_t count, uint64_t pair, std::vector<uint32_t> words) {
    queue_.push_back({count, pair, std::move(words)});
    std::push_heap(queue_.begin(), queue_.end(), worse);
  }
  void enqueue_touched() {
    for (const uint64_t pair : touched_) {
      PairInfo& info = pairs_[pair];
      auto words = std::exchange(info.words, {});
      if (info.count > 0) push(info.count, pair, std::move(words));
    }
    touched_.clear();
  }

  void merge(const Candidate& top) {
    const auto left = static_cast<int32_t>(top.pair >> 32),
               right = static_cast<int32_t>(top.pair & 0xFFFFFFFF);
    std::string text = known_[static_cast<size_t>(left)] + known_[static_cast<size_t>(right)];
    // Two ways to the same text ("ab"+"c", "a"+"bc") give the same token.
    const auto [found, is_new] = ids_.try_emplace(text, static_cast<int32_t>(known_.size()));
    if (is_new) known_.push_back(std::move(text));
    merges_.push_back({left, right, found->second});
    for (const uint32_t word : top.words) merge_in(word, merges_.back());
    enqueue_touched();
  }

  void merge_in(uint32_t w, const BpeMerge& m) {
    Word& word = words_[w];
    int32_t* s = symbols_.data() + word.begin;
    uint32_t out = 0;  // symbols before `out` are final
    for (uint32_t i = 0; i < word.length; ++i, ++out) {
      if (s[i] != m.left || i + 1 == word.length || s[i + 1] != m.right) {
        s[out] = s[i];
        continue;
      }
      if (out > 0) {
        change(pair_of(s[out - 1], m.left), -word.count, w);
        change(pair_of(s[out - 1], m.merged), word.count, w);
      }
      ++i;
      if (i + 1 < word.length) {
        change(pair_of(m.right, s[i + 1]), -word.count, w);
        change(pair_of(m.merged, s[i + 1]), word.count, w);
      }
      s[out] = m.merged;
    }
    word.length = out;
  }

  LearnedMerges result() {
    LearnedMerges out;
    out.tokens.assign(known_.begin() + first_new_id_, known_.end());
    // A pair can come up twice, when its token was also reached another way: its last rank is the one that
    // counts.
    std::unordered_map<uint64_t, size_t, PairHash> last;
    for (size_t i = 0; i < merges_.size(); ++i) last[pair_of(merges_[i].left, merges_[i].right)] = i;
    for (size_t i = 0; i < merges_.size(); ++i) {
      if (last[pair_of(merges_[i].left, merges_[i].right)] == i) out.merges.push_back(merges_[i]);
    }
    return out;
  }

  const int32_t first_new_id_;
  std::vector<std::string> known_;  // bytes by id; empty for special tokens
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<int32_t> symbols_;
  std::vector<Word> words_;
  std::unordered_map<uint64_t, PairInfo, PairHash> pairs_;
  std::vector<uint64_t> touched_;
  std::vector<Candidate> queue_;  // a heap; counts may be out of date
  std::vector<BpeMerge> merges_;
};

}  // namespace

LearnedMerges learn_merges(const std::vector<CountedWord>& words, const std::vector<int32_t>& byte_ids,
                           int32_t first_new_id, int64_t new_tokens, int64_t min_frequency) {
  CHECK(byte_ids.size() == 256);
  return Learner(words, byte_ids, first_new_id).run(new_tokens, min_frequency);
}

}  // namespace frugal
