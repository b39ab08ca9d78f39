// Packs pieces of documents into rows without padding and without dropping anything.
//
// A row of `length` has length + 1 slots: slot i is token i and the target of token i - 1. A piece takes a
// slot for its lead (context, never a target) and one per target. A row starts with the piece that has waited
// longest; then the largest waiting piece that fits follows, until none does; then the tail of the largest
// fills the rest and its head waits on. So most short documents stay whole and every target comes exactly
// once per epoch. Pieces of the next epoch enter only after the last one of this epoch.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "data/pieces.h"

namespace frugal {

// Where a source stands; all that has to be saved.
struct SourcePosition {
  int64_t epoch = 0;
  int64_t next = 0;            // pieces of this epoch that have entered `waiting`
  std::vector<Piece> waiting;  // oldest first, at most Packer::kWaiting
  int64_t tokens = 0;          // row slots filled so far (rows * length)
  int64_t targets = 0;         // targets given so far
};

class Packer {
 public:
  static constexpr size_t kWaiting = 64;
  Packer(const TokenSet& set, Framing framing, int64_t piece_length, uint64_t seed, uint64_t stream)
      : set_(&set), framing_(framing), order_(set, framing, piece_length, seed, stream) {}
  const PieceOrder& order() const { return order_; }
  // Error text, or nullptr: whether a saved position can be one of this source.
  const char* problem(const SourcePosition& position) const;

  // Fills row `row` of a batch whose vectors have their sizes already, appends the starts of its sequences to
  // batch.offsets and moves `position` on.
  void fill_row(SourcePosition& position, TrainBatch& batch, int64_t row, bool document_mask) const;

 private:
  void refill(SourcePosition& position) const;
  Piece take(SourcePosition& position, int64_t slots, bool first) const;
  const TokenSet* set_;
  Framing framing_;
  PieceOrder order_;
};

}  // namespace frugal
