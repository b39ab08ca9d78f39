// Where a trainer takes its batches from: the data stream, or anything else that can say and restore its
// position.
#pragma once

#include <memory>
#include <string>

#include "core/json.h"
#include "data/batch.h"

namespace frugal {

class BatchStream;

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual TrainBatch next(int64_t rows, int64_t length) = 0;
  // Position after the last batch given; restore() makes the same batches follow.
  virtual Json state() const = 0;
  // Error (starting with `where`) when the state is damaged or of other data.
  virtual void restore(const Json& state, const std::string& where) = 0;
};

// `stream` must outlive the result.
std::unique_ptr<BatchSource> batches_of(BatchStream& stream);

}  // namespace frugal
