// Removal of duplicate documents. Both filters keep the first of equals in reading order, so results do not
// depend on threads. Memory: 16 bytes a slot and at most 43 per distinct document for exact ones, about 0.4
// KB per document kept for near ones.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/hash.h"

namespace frugal {

// A set of hashes: open addressing, at most three quarters full.
class HashSet {
 public:
  // True when `hash` was not there yet.
  bool insert(const Hash128& hash);
  bool contains(const Hash128& hash) const;
  size_t size() const { return size_; }

 private:
  size_t find(const Hash128& hash) const;  // its slot, or the empty one where it belongs
  void grow();
  std::vector<Hash128> slots_;  // all zero: empty
  size_t size_ = 0;
};

// MinHash (Broder 1997): the share of equal entries of two signatures estimates the Jaccard similarity of the
// documents' sets of 5-word shingles. Words are compared without ASCII case and punctuation; each CJK
// character is a word.
constexpr int kMinHashes = 128, kBands = 16;
using Signature = std::array<uint32_t, kMinHashes>;
Signature minhash(std::string_view text);

// Locality-sensitive hashing: candidates share one of 16 bands of 8 entries; a candidate counts as a
// duplicate when the estimated similarity (from 8 bits of each entry) reaches the threshold. A pair of
// similarity 0.8 meets in a band with probability 0.95, one of 0.9 with 0.9999.
class NearDuplicates {
 public:
  explicit NearDuplicates(double threshold);  // UsageError outside [0.5, 1]
  // True when no earlier document is near; the document is then remembered.
  bool insert(const Signature& signature);

 private:
  struct Entry {
    uint32_t band_hash = 0, document = 0;  // document counts from 1; 0: empty
  };
  bool near(uint32_t document, const Signature& signature) const;
  void put(Entry entry);
  void grow();
  double threshold_;
  std::vector<Entry> table_;
  size_t entries_ = 0;
  std::vector<uint8_t> sketches_;  // kMinHashes bytes per document
};

}  // namespace frugal
