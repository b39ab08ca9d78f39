#include "data/clean.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

constexpr int kRows = kMinHashes / kBands;
constexpr int kShingle = 5;             // words
constexpr size_t kMostCandidates = 64;  // per band: bounds the time spent on boilerplate

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  return x ^ (x >> 32);
}

struct Multipliers {
  std::array<uint64_t, kMinHashes> factor{}, offset{};
  Multipliers() {
    Rng rng(0x6d696e68617368);  // any constant; a fixed one, so that signatures are the same everywhere
    for (size_t i = 0; i < kMinHashes; ++i) {
      factor[i] = rng.bits64() | 1;
      offset[i] = rng.bits64();
    }
  }
};

// Calls word(hash) for each word.
template <class F>
void for_each_word(std::string_view text, F word) {
  constexpr uint64_t kStart = 0x9e3779b97f4a7c15u;
  uint64_t hash = kStart;
  bool inside = false;
  const auto flush = [&] {
    if (inside) word(mix(hash));
    hash = kStart;
    inside = false;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool wide = c >= 0xE2 && c < 0xF0;  // U+2000 and up: punctuation and East Asian scripts
    if (wide && i + 2 < text.size()) {
      flush();
      word(mix(kStart ^ (uint64_t{c} << 16 | uint64_t{static_cast<unsigned char>(text[i + 1])} << 8 |
                         static_cast<unsigned char>(text[i + 2]))));
      i += 2;
    } else if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      const unsigned char lower = c >= 'A' && c <= 'Z' ? static_cast<unsigned char>(c + 32) : c;
      hash = (hash ^ lower) * 0x100000001b3u;
      inside = true;
    } else if (c != '\'') {  // "don't" is one word
      flush();
    }
  }
  flush();
}

}  // namespace

size_t HashSet::find(const Hash128& hash) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash.low & mask;
  while (slots_[slot] != Hash128{} && slots_[slot] != hash) slot = (slot + 1) & mask;
  return slot;
}

void HashSet::grow() {
  std::vector<Hash128> old(std::max<size_t>(1024, slots_.size() * 2));
  old.swap(slots_);
  for (const auto& hash : old) {
    if (hash != Hash128{}) slots_[find(hash)] = hash;
  }
}

bool HashSet::insert(const Hash128& hash) {
  const Hash128 key = hash == Hash128{} ? Hash128{0, 1} : hash;
  if (4 * (size_ + 1) > 3 * slots_.size()) grow();
  Hash128& slot = slots_[find(key)];
  if (slot == key) return false;
  slot = key;
  ++size_;
  return true;
}

bool HashSet::contains(const Hash128& hash) const {
  const Hash128 key = hash == Hash128{} ? Hash128{0, 1} : hash;
  return !slots_.empty() && slots_[find(key)] == key;
}

Signature minhash(std::string_view text) {
  static const Multipliers multipliers;
  Signature signature;
  signature.fill(std::numeric_limits<uint32_t>::max());
  std::array<uint64_t, kShingle> window{};
  size_t words = 0;
  const auto add = [&](uint64_t shingle) {
    for (size_t i = 0; i < kMinHashes; ++i) {
      const auto value =
          static_cast<uint32_t>((shingle * multipliers.factor[i] + multipliers.offset[i]) >> 32);
      signature[i] = std::min(signature[i], value);
    }
  };
  const auto shingle_of_last = [&](size_t count) {
    uint64_t shingle = count;
    for (size_t i = words - count; i < words; ++i)
      shingle = mix(shingle * 0x9e3779b97f4a7c15u + window[i % kShingle]);
    return shingle;
  };
  for_each_word(text, [&](uint64_t word) {
    window[words % kShingle] = word;
    ++words;
    if (words >= kShingle) add(shingle_of_last(kShingle));
  });
  if (words < kShingle) add(shingle_of_last(words));  // a short text is one shingle
  return signature;
}

NearDuplicates::NearDuplicates(double threshold) : threshold_(threshold) {
  if (!(threshold >= 0.5 && threshold <= 1)) {
    fail_usage("data.near_duplicate_threshold = {}: expected 0.5 to 1 (a share of common 5-word runs)",
               threshold);
  }
}

bool NearDuplicates::near(uint32_t document, const Signature& signature) const {
  const uint8_t* sketch = sketches_.data() + size_t{document - 1} * kMinHashes;
  int equal = 0;
  for (size_t i = 0; i < kMinHashes; ++i) equal += sketch[i] == static_cast<uint8_t>(signature[i]);
  const double chance = 1.0 / 256;  // two different entries share their last 8 bits
  return (static_cast<double>(equal) / kMinHashes - chance) / (1 - chance) >= threshold_;
}

void NearDuplicates::put(Entry entry) {
  const size_t mask = table_.size() - 1;
  size_t slot = mix(entry.band_hash) & mask;
  while (table_[slot].document != 0) slot = (slot + 1) & mask;
  table_[slot] = entry;
}

void NearDuplicates::grow() {
  std::vector<Entry> old(std::max<size_t>(1 << 14, table_.size() * 2));
  old.swap(table_);
  for (const Entry& entry : old) {
    if (entry.document != 0) put(entry);
  }
}

bool NearDuplicates::insert(const Signature& signature) {
  if (4 * (entries_ + kBands) > 3 * table_.size()) grow();
  std::array<uint32_t, kBands> bands{};
  const size_t mask = table_.size() - 1;
  for (size_t band = 0; band < kBands; ++band) {
    uint64_t hash = band;
    for (size_t i = 0; i < kRows; ++i) hash = mix(hash * 0x9e3779b97f4a7c15u + signature[band * kRows + i]);
    bands[band] = static_cast<uint32_t>(hash);
    size_t seen = 0;
    for (size_t slot = mix(bands[band]) & mask; table_[slot].document != 0; slot = (slot + 1) & mask) {
      if (table_[slot].band_hash != bands[band]) continue;
      if (near(table_[slot].document, signature)) return false;
      if (++seen == kMostCandidates) break;
    }
  }
  const size_t documents = sketches_.size() / kMinHashes + 1;
  if (documents > std::numeric_limits<uint32_t>::max() / kBands) {
    fail("near-duplicate removal handles {} documents at most; clean parts of the corpus apart",
         documents - 1);
  }
  for (const uint32_t value : signature) sketches_.push_back(static_cast<uint8_t>(value));
  for (const uint32_t band : bands) put({band, static_cast<uint32_t>(documents)});
  entries_ += kBands;
  return true;
}

}  // namespace frugal
