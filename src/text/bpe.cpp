#include "text/bpe.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <queue>

#include "core/error.h"
#include "text/unicode.h"

namespace frugal {
namespace {

constexpr size_t kShortWord = 48;  // up to here scanning for the best pair beats a heap
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();

uint64_t mix(uint64_t x) {
  x *= 0x9E3779B97F4A7C15u;
  return x ^ (x >> 32);
}
uint64_t pair_key(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

}  // namespace

// Words to ids, lock-free: a slot is claimed once, published once and never changed, so readers need no lock
// and the result of encode() cannot depend on it. The first words to come stay; text being Zipf's, they are
// the frequent ones.
class BpeModel::Cache {
 public:
  static constexpr size_t kMaxBytes = 24, kMaxIds = 8;

  Cache() : slots_(static_cast<Slot*>(std::calloc(kSlots, sizeof(Slot)))) {  // untouched pages cost nothing
    if (!slots_) throw std::bad_alloc();
  }

  struct Key {
    uint64_t words[3] = {0, 0, 0};
    uint64_t hash = 0;
    explicit Key(std::string_view text) {
      std::memcpy(words, text.data(), text.size());
      hash = mix(words[0] ^ mix(words[1] ^ mix(words[2] + text.size())));
    }
  };

  bool find(std::string_view text, const Key& key, std::vector<int32_t>& out) const {
    for (size_t probe = 0; probe < kProbes; ++probe) {
      Slot& slot = slots_[(key.hash + probe) & (kSlots - 1)];
      const uint32_t state = std::atomic_ref(slot.state).load(std::memory_order_acquire);
      if (state == kFree) return false;
      if (state != kReady || slot.bytes != text.size()) continue;
      if (std::memcmp(slot.key, key.words, sizeof slot.key) != 0) continue;
      out.insert(out.end(), slot.ids, slot.ids + slot.count);
      return true;
    }
    return false;
  }

  void insert(std::string_view text, const Key& key, const int32_t* ids, size_t count) {
    if (count > kMaxIds) return;
    for (size_t probe = 0; probe < kProbes; ++probe) {
      Slot& slot = slots_[(key.hash + probe) & (kSlots - 1)];
      uint32_t expected = kFree;
      if (!std::atomic_ref(slot.state).compare_exchange_strong(expected, kWriting, std::memory_order_relaxed))
        continue;
      slot.bytes = static_cast<uint16_t>(text.size());
      slot.count = static_cast<uint16_t>(count);
      std::memcpy(slot.key, key.words, sizeof slot.key);
      std::copy_n(ids, count, slot.ids);
      std::atomic_ref(slot.state).store(kReady, std::memory_order_release);
      return;
    }
  }

 private:
  static constexpr size_t kSlots = 1 << 16, kProbes = 4;
  static constexpr uint32_t kFree = 0, kWriting = 1, kReady = 2;
  struct Slot {  // 64 bytes
    uint32_t state;
    uint16_t bytes, count;
    uint64_t key[3];
    int32_t ids[kMaxIds];
  };
  struct Free {
    void operator()(Slot* p) const { std::free(p); }
  };
  std::unique_ptr<Slot[], Free> slots_;
};

BpeModel::BpeModel(const std::vector<std::string_view>& tokens, const std::vector<BpeMerge>& merges,
                   BpeRules options)
    : options_(std::move(options)), cache_(std::make_unique<Cache>()) {
  CHECK(options_.byte_ids.empty() || options_.byte_ids.size() == 256);
  ids_.reserve(tokens.size());
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    ids_.emplace(tokens[id], static_cast<int32_t>(id));
    if (tokens[id].size() == 1)
      byte_ids_[static_cast<unsigned char>(tokens[id][0])] = static_cast<int32_t>(id);
  }
  merges_.resize(std::bit_ceil(std::max<size_t>(2, merges.size() * 2)));
  mask_ = merges_.size() - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& m = merges[rank];
    const uint64_t key = pair_key(m.left, m.right);
    uint64_t at = mix(key) & mask_;
    while (merges_[at].pair != ~uint64_t{0} && merges_[at].pair != key) at = (at + 1) & mask_;
    merges_[at] = {key, static_cast<int32_t>(rank), m.merged};  // a pair listed twice has its last rank
  }
}

BpeModel::~BpeModel() = default;
BpeModel::BpeModel(BpeModel&&) noexcept = default;
BpeModel& BpeModel::operator=(BpeModel&&) noexcept = default;

int32_t BpeModel::find(std::string_view bytes) const {
  const auto found = ids_.find(bytes);
  return found == ids_.end() ? -1 : found->second;
}

const BpeModel::Entry* BpeModel::find_merge(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  for (uint64_t at = mix(key) & mask_;; at = (at + 1) & mask_) {
    if (merges_[at].pair == key) return &merges_[at];
    if (merges_[at].pair == ~uint64_t{0}) return nullptr;
  }
}

void BpeModel::encode(std::string_view word, std::vector<int32_t>& out) const {
  if (word.size() > Cache::kMaxBytes) return encode_uncached(word, out);
  const Cache::Key key(word);
  if (cache_->find(word, key, out)) return;
  const size_t from = out.size();
  encode_uncached(word, out);
  cache_->insert(word, key, out.data() + from, out.size() - from);
}

void BpeModel::encode_uncached(std::string_view word, std::vector<int32_t>& out) const {
  if (options_.ignore_merges) {
    if (const int32_t id = find(word); id >= 0) {
      out.push_back(id);
      return;
    }
  }
  const size_t from = out.size();
  if (options_.characters) {
    characters_of(word, out);
  } else {
    symbols_of(word, out);
  }
  if (out.size() - from <= kShortWord)
    merge_short(out, from);
  else
    merge_long(out, from);
}

void BpeModel::symbols_of(std::string_view word, std::vector<int32_t>& out) const {
  for (const char c : word) {
    int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id < 0) id = options_.unknown;
    if (id < 0) {
      fail("the tokenizer has no token for byte 0x{:02X} and no unknown token",
           static_cast<unsigned char>(c));
    }
    out.push_back(id);
  }
}

void BpeModel::characters_of(std::string_view word, std::vector<int32_t>& out) const {
  bool after_unknown = false;
  for (size_t at = 0; at < word.size();) {
    const size_t bytes = decode_utf8(word.data() + at, word.data() + word.size()).bytes;
    const std::string_view character = word.substr(at, bytes);
    at += bytes;
    if (const int32_t id = find(character); id >= 0) {
      out.push_back(id);
      after_unknown = false;
      continue;
    }
    const auto byte_id = [&](char c) { return options_.byte_ids[static_cast<unsigned char>(c)]; };
    if (!options_.byte_ids.empty() &&
        std::ranges::all_of(character, [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : character) out.push_back(byte_id(c));
      after_unknown = false;
      continue;
    }
    if (options_.unknown < 0) fail("the tokenizer has no token for {:?} and no unknown token", character);
    if (!after_unknown || !options_.fuse_unknown) out.push_back(options_.unknown);
    after_unknown = true;
  }
}

void BpeModel::merge_short(std::vector<int32_t>& ids, size_t from) const {
  int32_t* const symbol = ids.data() + from;
  size_t count = ids.size() - from;
  int32_t rank[kShortWord], merged[kShortWord];  // of the pair (i, i + 1)
  const auto look = [&](size_t i) {
    const Entry* entry = find_merge(symbol[i], symbol[i + 1]);
    rank[i] = entry ? entry->rank : kNoRank;
    merged[i] = entry ? entry->merged : 0;
  };
  for (size_t i = 0; i + 1 < count; ++i) look(i);
  while (count > 1) {
    const size_t best = static_cast<size_t>(std::min_element(rank, rank + count - 1) - rank);
    if (rank[best] == kNoRank) break;
    symbol[best] = merged[best];
    --count;
    std::copy(symbol + best + 2, symbol + count + 1, symbol + best + 1);
    std::copy(rank + best + 1, rank + count, rank + best);
    std::copy(merged + best + 1, merged + count, merged + best);
    if (best > 0) look(best - 1);
    if (best + 1 < count) look(best);
  }
  ids.resize(from + count);
}

void BpeModel::merge_long(std::vector<int32_t>& ids, size_t from) const {
  struct Candidate {
    int32_t rank;
    uint32_t at;
    int32_t left, right;  // what stood there when the candidate was made; stale once either changed
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  constexpr uint32_t kNone = ~uint32_t{0};
  const size_t count = ids.size() - from;
  if (count >= kNone) fail("a word of {} bytes without a break; at most 4 GiB can be encoded", count);
  int32_t* const symbol = ids.data() + from;  // -1 once merged into its left neighbour
  std::vector<uint32_t> next(count), previous(count);
  std::vector<Candidate> heap;
  const auto make = [&](uint32_t left, uint32_t right) -> const Entry* {
    const Entry* entry = find_merge(symbol[left], symbol[right]);
    if (entry) heap.push_back({entry->rank, left, symbol[left], symbol[right]});
    return entry;
  };
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kNone;
    previous[i] = i > 0 ? i - 1 : kNone;
    if (i + 1 < count) make(i, i + 1);
  }
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    const Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    const uint32_t right = next[top.at];
    if (symbol[top.at] != top.left || right == kNone || symbol[right] != top.right) continue;
    symbol[top.at] = find_merge(top.left, top.right)->merged;
    symbol[right] = -1;
    next[top.at] = next[right];
    if (next[right] != kNone) previous[next[right]] = top.at;
    if (previous[top.at] != kNone && make(previous[top.at], top.at)) std::push_heap(heap.begin(), heap.end());
    if (next[top.at] != kNone && make(top.at, next[top.at])) std::push_heap(heap.begin(), heap.end());
  }
  ids.erase(std::remove(ids.begin() + static_cast<ptrdiff_t>(from), ids.end(), -1), ids.end());
}

}  // namespace frugal
