// Documents as the model sees them, cut to pieces, in an order that is a pure function of (seed, epoch,
// index).
#pragma once

#include <cstdint>
#include <vector>

#include "data/tokens.h"

namespace frugal {

// BOS ids EOS, either of which a tokenizer may lack (-1). Without BOS the document starts with EOS, as
// generation would. The first token (the lead) is context only; all others are targets.
struct Framing {
  int32_t bos_id = -1, eos_id = -1;
  int32_t lead() const { return bos_id >= 0 ? bos_id : eos_id; }
  int64_t framed_tokens(int64_t ids) const { return ids + (lead() >= 0) + (eos_id >= 0); }
  int64_t targets(int64_t ids) const { return framed_tokens(ids) > 0 ? framed_tokens(ids) - 1 : 0; }
  // out[0, count) = framed tokens [begin, begin + count) of a document of `set`.
  void copy(const TokenSet& set, int64_t document, int64_t begin, int64_t count, int32_t* out) const;
};

// A pseudo-random permutation of [0, size) in constant memory: a Feistel network on the next even number of
// bits whose rounds are Philox, walked until it lands inside (Black and Rogaway 2002).
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t seed, uint64_t stream);
  uint64_t operator()(uint64_t index) const;

 private:
  uint64_t size_, seed_, stream_;
  int half_bits_ = 1;
};

// Targets [begin, end) of a document, in framed tokens; token begin - 1 is their context.
struct Piece {
  int64_t document = 0, begin = 0, end = 0;
  int64_t targets() const { return end - begin; }
  bool operator==(const Piece&) const = default;
};

// All pieces of a set: every document is cut after each `piece_length` targets, so that long documents are
// spread over the epoch. Memory: 8 bytes per 64 documents.
class PieceOrder {
 public:
  PieceOrder(const TokenSet& set, Framing framing, int64_t piece_length, uint64_t seed, uint64_t stream);
  int64_t pieces() const { return sums_.back(); }
  int64_t targets() const { return targets_; }  // over all pieces
  Piece at(int64_t epoch, int64_t index) const;

 private:
  static constexpr int64_t kStride = 64;
  int64_t pieces_of(int64_t document) const;
  const TokenSet* set_;
  Framing framing_;
  int64_t piece_length_, targets_ = 0;
  uint64_t seed_, stream_;
  std::vector<int64_t> sums_;  // pieces before documents 0, 64, 128, ...; last: all
};

}  // namespace frugal
