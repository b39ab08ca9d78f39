// The ragged batch every forward takes: R tokens of S sequences, one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace frugal {

// What a sequence's rows are: prompt and training rows, or generated (and verified) ones. MLA chooses its
// form by it.
enum class RowRole { prompt, generated };

struct Batch {
  std::vector<int32_t> tokens;     // (R)
  std::vector<int32_t> positions;  // (R) position of each token in its sequence
  std::vector<int64_t> offsets;    // (S + 1) rows [offsets[s], offsets[s+1]) belong to sequence s
  std::vector<int> slots;          // (S) cache slot of each sequence; empty without a cache
  std::vector<RowRole> roles;      // (S) empty: all prompt

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  // One sequence from its start, or from `position` on.
  static Batch single(std::vector<int32_t> ids, int32_t position = 0, int slot = 0,
                      RowRole role = RowRole::prompt) {
    Batch batch;
    for (size_t i = 0; i < ids.size(); ++i) batch.positions.push_back(position + static_cast<int32_t>(i));
    batch.offsets = {0, static_cast<int64_t>(ids.size())};
    batch.tokens = std::move(ids);
    batch.slots = {slot};
    batch.roles = {role};
    return batch;
  }
};

}  // namespace frugal
