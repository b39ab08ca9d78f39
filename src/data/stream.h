// The endless stream of training batches: sources mixed by weight, pieces shuffled and packed, one batch
// prepared ahead. A batch is a pure function of the position before it, so a saved position resumes
// bit-identically, also with other batch sizes: the sequence of rows of one length does not depend on how
// many are asked for at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/batch.h"
#include "data/packer.h"
#include "data/tokens.h"

namespace frugal {

struct StreamSource {
  TokenSet tokens;
  double weight = 1;  // share of the rows, relative to the other sources' weights
};

struct StreamOptions {
  Framing framing;
  int64_t piece_length =
      0;  // long documents are cut to pieces of so many targets: the (longest) row length used
  uint64_t seed = 0;
  bool document_mask = false;  // sequences are pieces, not rows
  std::string key;             // names the data in saved positions (PreparedData::key)
};

class BatchStream {
 public:
  // Error when a source is empty; UsageError for impossible options.
  BatchStream(std::vector<StreamSource> sources, StreamOptions options);
  ~BatchStream();
  BatchStream(const BatchStream&) = delete;
  BatchStream& operator=(const BatchStream&) = delete;

  // The next `rows` rows of `length` tokens; Error when an epoch is shorter than that. While the caller
  // works, the next batch of the same shape is prepared in the background.
  TrainBatch next(int64_t rows, int64_t length);

  // Position after the last batch that next() returned.
  Json state() const;
  // Error (starting with `where`) when the state is damaged, or of other data, seed or piece length.
  void restore(const Json& state, const std::string& where);

  double epoch() const;          // targets given over targets of an epoch: 1.5 is the middle of the second
  int64_t tokens_seen() const;   // rows * length over all batches
  int64_t targets_seen() const;  // those that carried a loss
  int64_t targets_per_epoch() const;
  std::vector<int64_t> source_tokens() const;  // tokens_seen by source, to show how the weights were kept

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace frugal
