#include "core/read_ahead.h"

#include <algorithm>
#include <utility>

namespace frugal {

namespace {

uint64_t mix(uint64_t hash, uint64_t x) {
  return (hash ^ x) * 0x9e3779b97f4a7c15u + (hash >> 29);
}

}  // namespace

size_t ReadOrder::HashPlace::operator()(const Place& p) const {
  return mix(static_cast<uint64_t>(p.after), reinterpret_cast<uintptr_t>(p.landmark));
}

// Whether what begins at this address is what began there the last time.
bool ReadOrder::is_landmark(Reads now) {
  uint64_t hash = now.size();
  for (const MemorySpan& span : now)
    hash = mix(mix(hash, reinterpret_cast<uintptr_t>(span.from)), span.bytes);
  const auto [known, is_new] = read_at_.try_emplace(now.front().from, hash);
  return is_new || std::exchange(known->second, hash) == hash;
}

std::span<const Reads> ReadOrder::follow(Reads now) {
  if (now.empty()) return {};
  if (last_ != nullptr) {
    last_->steady = std::ranges::equal(last_->spans, now);
    if (!last_->steady) last_->spans.assign(now.begin(), now.end());
  }
  if (next_of_.size() >= kMost) next_of_.clear(), read_at_.clear();
  place_ = is_landmark(now) ? Place{now.front().from, 0} : Place{place_.landmark, place_.after + 1};
  last_ = &next_of_[place_];
  ahead_.clear();
  for (const Next* next = last_; next->steady && ahead_.size() < kDeep;) {
    ahead_.push_back(next->spans);
    const auto after = next_of_.find({next->spans.front().from, 0});
    if (after == next_of_.end()) break;
    next = &after->second;
  }
  return ahead_;
}

ReadAhead::ReadAhead(std::span<const Reads> jobs, int index, int parts) {
  size_t left = kMost;
  for (const Reads& reads : jobs) add(reads, index, parts, left);
}

void ReadAhead::add(Reads reads, int index, int parts, size_t& left) {
  size_t total = 0;
  for (const MemorySpan& span : reads) total += span.bytes;
  size_t share = total / static_cast<size_t>(parts), skip = share * static_cast<size_t>(index);
  for (const MemorySpan& span : reads) {
    const size_t skipped = std::min(skip, span.bytes), taken = std::min({span.bytes - skipped, share, left});
    skip -= skipped;
    share -= taken;
    left -= taken;
    if (taken > 0 && count_ < kPieces) pieces_[static_cast<size_t>(count_++)] = {span.from + skipped, taken};
  }
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
