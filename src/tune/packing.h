// Token sequences as training batches: shuffled anew every epoch, packed into rows, every sequence attending
// to itself only. A sequence is never split. What is left of a row is padding, which TrainRows leaves out
// again, so it costs no computation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/batch.h"
#include "train/batch_source.h"
#include "tune/sequence.h"

namespace frugal {

struct PackingOptions {
  bool pack = true;  // several sequences a row; else one
  bool shuffle = true;
  uint64_t seed = 0;
};

// Padding has this in TrainBatch::document.
inline constexpr int32_t kPadding = -1;

// Tells lists of sequences apart.
std::string key_of(const std::vector<TokenSequence>& sequences);

class PackedBatches : public BatchSource {
 public:
  // Every sequence has a target. Error when there is none, or one is longer than a row when next() is called.
  PackedBatches(std::vector<TokenSequence> sequences, const PackingOptions& options);

  TrainBatch next(int64_t rows, int64_t length) override;
  Json state() const override;
  void restore(const Json& state, const std::string& where) override;

  double epoch() const;  // sequences given over the number of sequences
  int64_t sequences() const { return static_cast<int64_t>(sequences_.size()); }
  int64_t tokens_given() const { return tokens_given_; }    // without padding
  int64_t targets_given() const { return targets_given_; }  // those that carried a loss

 private:
  void refill();
  void fill_row(TrainBatch& batch, int64_t row);

  std::vector<TokenSequence> sequences_;
  size_t columns_ = 0;  // of TrainBatch::extra: the most that a sequence has, zeros where it has less
  PackingOptions options_;
  std::string key_;  // of the sequences
  int64_t epoch_ = 0, next_ = 0, given_ = 0, tokens_given_ = 0, targets_given_ = 0;
  int64_t ordered_epoch_ = -1;
  std::vector<int64_t> order_;    // of ordered_epoch_
  std::vector<int64_t> waiting_;  // sequences, oldest first
};

// All of the sequences in order, some rows at a time; nothing is shuffled. For validation.
std::vector<TrainBatch> in_order(const std::vector<TokenSequence>& sequences, int64_t rows, int64_t length);

// Row r holds the sequences rows[r] one after the other, each attending to itself only; the rest of it is
// padding. They must fit.
TrainBatch batch_of(const std::vector<std::vector<const TokenSequence*>>& rows, int64_t length);

// The rows of a batch that are no padding, as a model takes them.
struct TrainRows {
  Batch batch;
  std::vector<int32_t> targets;           // -1: none
  std::vector<std::vector<float>> extra;  // TrainBatch::extra, of these rows
};
TrainRows without_padding(const TrainBatch& rows);
// The same as one long row.
TrainBatch compact(const TrainBatch& rows);

}  // namespace frugal
