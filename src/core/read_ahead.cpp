#include "core/read_ahead.h"

#include <algorithm>

namespace frugal {

std::span<const MemorySpan> ReadOrder::follow(std::span<const MemorySpan> now) {
  if (now.empty()) return {};
  if (last_ != nullptr) {
    last_->steady = std::ranges::equal(last_->spans, now);
    if (!last_->steady) last_->spans.assign(now.begin(), now.end());
  }
  if (next_of_.size() >= kMost) next_of_.clear();
  last_ = &next_of_[now.front().from];
  return last_->steady ? std::span<const MemorySpan>(last_->spans) : std::span<const MemorySpan>{};
}

ReadAhead::ReadAhead(std::span<const MemorySpan> spans, int index, int parts) {
  size_t total = 0;
  for (const MemorySpan& span : spans) total += span.bytes;
  const size_t share = total / static_cast<size_t>(parts);
  size_t skip = share * static_cast<size_t>(index), left = std::min(share, kMost);
  int count = 0;
  for (const MemorySpan& span : spans) {
    const size_t skipped = std::min(skip, span.bytes), taken = std::min(span.bytes - skipped, left);
    skip -= skipped;
    left -= taken;
    if (taken > 0 && count < kPieces) pieces_[static_cast<size_t>(count++)] = {span.from + skipped, taken};
  }
  // Filled from the back, so that the last piece ends where done() looks.
  std::ranges::rotate(pieces_, pieces_.begin() + count);
  piece_ = kPieces - count;
}

void ReadAhead::step() {
  constexpr size_t kLine = 64, kLines = 8;
  MemorySpan& piece = pieces_[static_cast<size_t>(piece_)];
  for (size_t i = 0; i < kLines && piece.bytes > 0; ++i) {
    __builtin_prefetch(piece.from, 0, 2);  // into the second-level cache
    const size_t step = std::min(kLine, piece.bytes);
    piece.from += step;
    piece.bytes -= step;
  }
  if (piece.bytes == 0) ++piece_;
}

}  // namespace frugal
