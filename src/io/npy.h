// NumPy's .npy, version 1.0: a magic string, a header with dtype and shape, then the data in C order.
// Streamed, so that a (T, V) array of logits never has to be in memory at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/files.h"

namespace frugal {

class NpyWriter {
 public:
  // Little-endian float32 of this shape. Nothing appears at `path` before commit().
  NpyWriter(const fs::path& path, std::vector<int64_t> shape);
  void write(std::span<const float> values);
  // CHECKs that exactly the declared values were written.
  void commit();

 private:
  AtomicFile file_;
  int64_t missing_;
};

}  // namespace frugal
