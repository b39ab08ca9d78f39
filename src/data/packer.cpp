#include "data/packer.h"

#include "core/error.h"

namespace frugal {

const char* Packer::problem(const SourcePosition& position) const {
  if (position.epoch < 0 || position.next < 0 || position.next > order_.pieces())
    return "a position beyond the data";
  if (position.waiting.size() > kWaiting) return "too many waiting pieces";
  for (const Piece& piece : position.waiting) {
    if (piece.document < 0 || piece.document >= set_->documents()) return "a document that is not there";
    const int64_t targets = framing_.targets(set_->document_tokens(piece.document));
    if (piece.begin < 1 || piece.end <= piece.begin || piece.end > 1 + targets)
      return "a piece beyond its document";
  }
  return nullptr;
}

void Packer::refill(SourcePosition& position) const {
  if (position.waiting.empty() && position.next == order_.pieces()) {
    ++position.epoch;
    position.next = 0;
  }
  while (position.waiting.size() < kWaiting && position.next < order_.pieces()) {
    position.waiting.push_back(order_.at(position.epoch, position.next++));
  }
}

// The next piece of a row with `slots` (at least 2) free slots.
Piece Packer::take(SourcePosition& position, int64_t slots, bool first) const {
  refill(position);
  auto& waiting = position.waiting;
  auto chosen = waiting.begin();
  if (!first) {
    auto largest_that_fits = waiting.end(), smallest_that_does_not = waiting.end();
    for (auto it = waiting.begin(); it != waiting.end(); ++it) {
      auto& best = it->targets() < slots ? largest_that_fits : smallest_that_does_not;
      const bool fits = it->targets() < slots;
      if (best == waiting.end() || (fits ? it->targets() > best->targets() : it->targets() < best->targets()))
        best = it;
    }
    chosen = largest_that_fits != waiting.end() ? largest_that_fits : smallest_that_does_not;
  }
  Piece piece = *chosen;
  if (piece.targets() < slots) {
    waiting.erase(chosen);
  } else if (first) {  // longer than a row: its rows follow one another
    piece.end = piece.begin + slots - 1;
    chosen->begin = piece.end;
  } else {
    piece.begin = piece.end - (slots - 1);
    chosen->end = piece.begin;
  }
  return piece;
}

void Packer::fill_row(SourcePosition& position, TrainBatch& batch, int64_t row, bool document_mask) const {
  const int64_t length = batch.length, base = row * length;
  std::vector<int32_t> buffer;
  int32_t index = 0;
  int64_t slot = 0;
  if (!document_mask) batch.offsets.push_back(base);
  while (slot < length) {  // slot `length` alone has room for no piece
    const Piece piece = take(position, length + 1 - slot, slot == 0);
    const int64_t count = piece.targets() + 1;
    buffer.resize(static_cast<size_t>(count));
    framing_.copy(*set_, piece.document, piece.begin - 1, count, buffer.data());
    if (document_mask) batch.offsets.push_back(base + slot);
    for (int64_t i = 0; i < count && slot + i < length; ++i) {
      const auto at = static_cast<size_t>(base + slot + i);
      batch.tokens[at] = buffer[static_cast<size_t>(i)];
      batch.targets[at] = i + 1 < count ? buffer[static_cast<size_t>(i) + 1] : -1;
      batch.positions[at] = static_cast<int32_t>(document_mask ? i : slot + i);
      batch.document[at] = index;
    }
    position.targets += piece.targets();
    slot += count;
    ++index;
  }
  position.tokens += length;
}

}  // namespace frugal
