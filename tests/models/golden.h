// Loads the fixtures of tests/golden (made by tools/make_golden.py).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "kernels/dispatch.h"
#include "models/model.h"

namespace frugal {

inline fs::path golden_path(const std::string& name) {
  return fs::path(FRUGAL_SOURCE_DIR) / "tests/golden" / name;
}

inline std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) throw Error("golden has no " + name);
  std::vector<float> out(entry->data.size() / 4);
  std::memcpy(out.data(), entry->data.data(), entry->data.size());
  return out;
}

struct GoldenBatch {
  int64_t rows, length;  // B, T
  std::vector<int32_t> ids;
  // All sequences of the batch as one ragged batch.
  Batch batch() const {
    Batch b;
    b.tokens = ids;
    b.offsets = {0};
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t t = 0; t < length; ++t) b.positions.push_back(static_cast<int32_t>(t));
      b.offsets.push_back((r + 1) * length);
      b.slots.push_back(static_cast<int>(r));
    }
    return b;
  }
  // ids `by` further on in the same row, or `fill`.
  std::vector<int32_t> shifted(int64_t by, int32_t fill) const {
    std::vector<int32_t> out(ids.size(), fill);
    for (int64_t i = 0; i < rows * length; ++i) {
      if (i % length + by < length) out[static_cast<size_t>(i)] = ids[static_cast<size_t>(i + by)];
    }
    return out;
  }
};

inline GoldenBatch golden_batch(const SafetensorsFile& file, const std::string& name = "input_ids") {
  const SafetensorsEntry* entry = file.find(name);
  GoldenBatch b{entry->shape[entry->shape.size() - 2], entry->shape.back(), {}};
  b.ids.resize(entry->data.size() / 4);
  std::memcpy(b.ids.data(), entry->data.data(), entry->data.size());
  return b;
}

// The model of a case with its weights, f32.
inline std::unique_ptr<Model> golden_model(Context& ctx, const std::string& name) {
  return load_model(ctx, golden_path("models/" + name), Weights::copied_f32);
}

// Largest |a - b| over the standard deviation of b.
inline double relative_error(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double mean = 0, square = 0, worst = 0;
  for (const float x : b) mean += x;
  mean /= static_cast<double>(b.size());
  for (const float x : b) square += (x - mean) * (x - mean);
  const double deviation = std::sqrt(square / static_cast<double>(b.size())) + 1e-12;
  for (size_t i = 0; i < b.size(); ++i) {
    const double error = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) / deviation;
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace frugal
