// What a training step or an evaluation reads.
#pragma once

#include <cstdint>
#include <vector>

namespace frugal {

// `rows` rows of `length` tokens, row after row. Row r's token i is at r * length + i.
//
// A row is made of pieces of documents. tokens[i] predicts targets[i], the next token of the same piece;
// targets[i] is -1 where there is none to predict (the last token of a piece, padding). A multi-token
// prediction d tokens further on (d = 1 is the ordinary target) belongs at row position i when
//   i + d - 1 < length, document[i + d - 1] == document[i] and targets[i + d - 1] >= 0: it is targets[i + d -
//   1].
struct TrainBatch {
  int64_t rows = 0, length = 0;
  std::vector<int32_t> tokens;     // (rows, length)
  std::vector<int32_t> targets;    // (rows, length), -1: ignored
  std::vector<int32_t> positions;  // (rows, length): from 0 in every sequence
  std::vector<int32_t> document;   // (rows, length): index of the token's piece within its row, from 0
  // Where sequences start, and the end: 0 = offsets[0] < ... < offsets.back() = rows * length. A sequence is
  // a row, or a piece when the cross-document mask is on; tokens attend within their sequence only.
  std::vector<int64_t> offsets;
  // Further values of every token, (rows, length) each: weights, advantages, another model's
  // log-probabilities. What they are is between whoever makes the batches and the objective; pre-training has
  // none.
  std::vector<std::vector<float>> extra;
  int64_t first = 0;  // number of row 0 among all rows of its source, where the source counts them

  bool operator==(const TrainBatch&) const = default;
};

}  // namespace frugal
