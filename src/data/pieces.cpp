#include "data/pieces.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {

void Framing::copy(const TokenSet& set, int64_t document, int64_t begin, int64_t count, int32_t* out) const {
  const int64_t ids = set.document_tokens(document);
  CHECK(begin >= 0 && count >= 0 && begin + count <= framed_tokens(ids));
  const int64_t first_id = lead() >= 0 ? 1 : 0;
  if (begin < first_id && count > 0) {
    *out++ = lead();
    ++begin, --count;
  }
  const int64_t middle = std::clamp<int64_t>(first_id + ids - begin, 0, count);
  if (middle > 0) set.copy(document, begin - first_id, middle, out);
  if (middle < count) out[middle] = eos_id;
}

Permutation::Permutation(uint64_t size, uint64_t seed, uint64_t stream)
    : size_(size), seed_(seed), stream_(stream) {
  CHECK(size > 0);
  half_bits_ = std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
}

uint64_t Permutation::operator()(uint64_t index) const {
  CHECK(index < size_);
  constexpr uint32_t kRounds = 6;
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  do {
    uint64_t left = index >> half_bits_, right = index & mask;
    for (uint32_t round = 0; round < kRounds; ++round) {
      const auto mixed = philox({static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)},
                                {static_cast<uint32_t>(right), round, static_cast<uint32_t>(stream_),
                                 static_cast<uint32_t>(stream_ >> 32)});
      const uint64_t next = (left ^ mixed[0]) & mask;
      left = right;
      right = next;
    }
    index = left << half_bits_ | right;
  } while (index >= size_);
  return index;
}

PieceOrder::PieceOrder(const TokenSet& set, Framing framing, int64_t piece_length, uint64_t seed,
                       uint64_t stream)
    : set_(&set), framing_(framing), piece_length_(piece_length), seed_(seed), stream_(stream) {
  CHECK(piece_length > 0);
  int64_t sum = 0;
  for (int64_t document = 0; document < set.documents(); ++document) {
    if (document % kStride == 0) sums_.push_back(sum);
    sum += pieces_of(document);
    targets_ += framing.targets(set.document_tokens(document));
  }
  sums_.push_back(sum);
}

int64_t PieceOrder::pieces_of(int64_t document) const {
  return (framing_.targets(set_->document_tokens(document)) + piece_length_ - 1) / piece_length_;
}

Piece PieceOrder::at(int64_t epoch, int64_t index) const {
  // Streams of different (source, epoch) differ; epochs fit 40 bits, sources 24.
  const Permutation order(static_cast<uint64_t>(pieces()), seed_,
                          stream_ << 40 | static_cast<uint64_t>(epoch));
  auto piece = static_cast<int64_t>(order(static_cast<uint64_t>(index)));
  const auto block = std::upper_bound(sums_.begin(), sums_.end() - 1, piece) - sums_.begin() - 1;
  int64_t document = block * kStride;
  piece -= sums_[static_cast<size_t>(block)];
  while (piece >= pieces_of(document)) piece -= pieces_of(document++);
  const int64_t begin = 1 + piece * piece_length_;
  const int64_t targets = framing_.targets(set_->document_tokens(document));
  return {document, begin, std::min(begin + piece_length_, 1 + targets)};
}

}  // namespace frugal
