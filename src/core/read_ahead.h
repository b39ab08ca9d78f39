// What memory is read after what. Decoding reads the same weights in the same order for every token, with
// work on few numbers in between that leaves memory idle: whoever waits for the next job asks for its memory
// meanwhile. Addresses are hints and never followed, so they may outlive what they point to.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <unordered_map>
#include <vector>

namespace frugal {

struct MemorySpan {
  const std::byte* from = nullptr;
  size_t bytes = 0;
  bool operator==(const MemorySpan&) const = default;
};

// Learns the order of reads, one step back.
class ReadOrder {
 public:
  // Notes that `now` is read. Returns what was read after it both last times; empty when it was not the same,
  // or is not known. Valid until the next call.
  std::span<const MemorySpan> follow(std::span<const MemorySpan> now);

 private:
  static constexpr size_t kMost = 1 << 14;  // then it learns anew
  struct Next {
    std::vector<MemorySpan> spans;
    bool steady = false;
  };
  std::unordered_map<const std::byte*, Next> next_of_;
  Next* last_ = nullptr;
};

// One thread's share of memory to be read, asked for piece by piece.
class ReadAhead {
 public:
  // The first bytes of part `index` of `parts` equal ones of all spans together.
  ReadAhead(std::span<const MemorySpan> spans, int index, int parts);
  ReadAhead() = default;
  bool done() const { return piece_ == kPieces; }
  // Asks for a few lines more.
  void step();

 private:
  static constexpr size_t kMost = 512
                                  << 10;  // what is asked for has to stay in a core's cache until it is read
  static constexpr int kPieces = 4;
  std::array<MemorySpan, kPieces> pieces_ = {};
  int piece_ = kPieces;
};

}  // namespace frugal
