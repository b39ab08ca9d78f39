// What memory is read after what. Decoding reads the same weights in the same order for every token, with
// work on few numbers in between that leaves memory idle: whoever waits for the next job asks for its memory
// meanwhile. Addresses are hints and never followed, so they may outlive what they point to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace frugal {

struct MemorySpan {
  const std::byte* from = nullptr;
  size_t bytes = 0;
  bool operator==(const MemorySpan&) const = default;
};

// The memory that a job reads, in order.
using Reads = std::span<const MemorySpan>;

// Learns in which order jobs read.
class ReadOrder {
 public:
  // Notes that `now` is read. Returns what the jobs after it read, the next one first, as far as it was the
  // same both last times; empty when that is not known. Valid until the next call.
  std::span<const Reads> follow(Reads now);

 private:
  static constexpr size_t kMost = 1 << 14;  // places; then it learns anew
  static constexpr size_t kDeep = 4;
  // Where in the order a job is: so many jobs after the last one that read what it always reads. Experts are
  // others every time, but what comes after them is not.
  struct Place {
    const std::byte* landmark = nullptr;
    int after = 0;
    bool operator==(const Place&) const = default;
  };
  struct HashPlace {
    size_t operator()(const Place& p) const;
  };
  struct Next {
    std::vector<MemorySpan> spans;
    bool steady = false;
  };
  bool is_landmark(Reads now);
  std::unordered_map<Place, Next, HashPlace> next_of_;
  std::unordered_map<const std::byte*, uint64_t> read_at_;  // hash of the last reads that began there
  Place place_;
  Next* last_ = nullptr;
  std::vector<Reads> ahead_;
};

// One thread's share of memory to be read, asked for piece by piece.
class ReadAhead {
 public:
  // The first bytes of the jobs' shares, one job after the other; a share is part `index` of `parts` equal
  // ones of all spans of a job together.
  ReadAhead(std::span<const Reads> jobs, int index, int parts);
  ReadAhead() = default;
  bool done() const { return piece_ == count_; }
  // Asks for a few lines more.
  void step();

 private:
  // What is asked for has to stay in a core's cache until it is read.
  static constexpr size_t kMost = 512 << 10;
  static constexpr int kPieces = 24;
  void add(Reads reads, int index, int parts, size_t& left);
  std::array<MemorySpan, kPieces> pieces_ = {};
  int piece_ = 0, count_ = 0;
};

}  // namespace frugal
