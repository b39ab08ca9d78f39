#include "io/importance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/gguf.h"
#include "io/gguf_writer.h"
#include "io/parameters.h"
#include "models/gguf_family.h"

namespace frugal {
namespace {

constexpr const char *kSums = ".in_sum2", *kCounts = ".counts";

std::vector<GgufName> names_of(const Model& model) {
  const Json config = model.config();
  const std::string type = config.at("model_type").get<std::string>();
  for (const Architecture* architecture : all_architectures()) {
    if (architecture->model_type == type && architecture->gguf != nullptr) return architecture->gguf->names();
  }
  fail("models of type {} have no GGUF names: an importance matrix cannot be kept for them", type);
}

std::vector<float> values_of(const GgufEntry& entry, const fs::path& path) {
  if (entry.format != &formats::f32)
    fail("{}: {} is {}, expected f32", path.string(), entry.name, entry.format->name);
  std::vector<float> out(entry.data.size() / sizeof(float));
  std::memcpy(out.data(), entry.data.data(), out.size() * sizeof(float));
  for (const float x : out) {
    if (!(x >= 0) || !std::isfinite(x))
      fail("{}: {} holds {}; expected sums of squares", path.string(), entry.name, x);
  }
  return out;
}

// One tensor of the file: a matrix, or the stack of all experts'.
struct Stack {
  std::vector<float> sums, counts;
};

}  // namespace

void save_importance(const fs::path& path, const Importance& importance, Model& model) {
  const std::vector<GgufName> names = names_of(model);
  std::map<std::string, Stack> stacks;
  for (const auto& p : ParameterList(model).parameters) {
    const Importance::Matrix* matrix = importance.find(p.name);
    if (matrix == nullptr) continue;
    const GgufPlace place = place_in_gguf(names, p.name);
    Stack& stack = stacks[place.name];
    const auto index = static_cast<size_t>(std::max<int64_t>(place.expert, 0));
    const size_t cols = matrix->mean_squares.size();
    stack.counts.resize(std::max(stack.counts.size(), index + 1));
    stack.sums.resize(std::max(stack.sums.size(), (index + 1) * cols));
    stack.counts[index] = static_cast<float>(matrix->rows);
    for (size_t c = 0; c < cols; ++c)
      stack.sums[index * cols + c] = matrix->mean_squares[c] * static_cast<float>(matrix->rows);
  }
  GgufMetadata metadata;
  metadata.add("general.type", "imatrix");
  metadata.add("imatrix.datasets", std::span<const std::string>(importance.texts));
  const int64_t window = std::max<int64_t>(importance.context, 1);
  metadata.add("imatrix.chunk_count", static_cast<uint32_t>((importance.tokens + window - 1) / window));
  metadata.add("imatrix.chunk_size", static_cast<uint32_t>(window));
  std::vector<GgufDeclaration> tensors;
  for (const auto& [name, stack] : stacks) {
    const auto n = std::ssize(stack.counts);
    tensors.push_back({name + kSums, &formats::f32, {n, std::ssize(stack.sums) / n}});
    tensors.push_back({name + kCounts, &formats::f32, {n, 1}});
  }
  GgufWriter writer(path, metadata, tensors);
  for (const auto& [name, stack] : stacks) {
    writer.write(name + kSums, std::as_bytes(std::span(stack.sums)));
    writer.write(name + kCounts, std::as_bytes(std::span(stack.counts)));
  }
  writer.commit();
}

Importance load_importance(const fs::path& path, Model& model) {
  const GgufFile file(path);
  if (!file.has("general.type") || file.text("general.type") != "imatrix") {
    fail(
        "{}: not an importance matrix: expected a GGUF file of type imatrix, as 'frugal quantize "
        "--save-imatrix' "
        "and llama-imatrix write it",
        path.string());
  }
  const std::vector<GgufName> names = names_of(model);
  Importance out;
  std::map<std::string, Stack> stacks;
  for (const auto& p : ParameterList(model).parameters) {
    const GgufPlace place = place_in_gguf(names, p.name);
    const GgufEntry *sums = file.find(place.name + kSums), *counts = file.find(place.name + kCounts);
    if (sums == nullptr || counts == nullptr) continue;
    auto [it, fresh] = stacks.try_emplace(place.name);
    if (fresh) it->second = {values_of(*sums, path), values_of(*counts, path)};
    const Stack& stack = it->second;
    const auto index = static_cast<size_t>(std::max<int64_t>(place.expert, 0));
    // A Conv1D matrix has its inputs in its rows.
    const auto cols =
        static_cast<size_t>(place.layout == GgufLayout::transposed ? p.value->dim(0) : p.value->cols());
    if (stack.sums.size() != stack.counts.size() * cols || index >= stack.counts.size()) {
      fail("{}: {} has {} numbers in {} parts; this model's matrix takes in {}", path.string(), sums->name,
           stack.sums.size(), stack.counts.size(), cols);
    }
    Importance::Matrix matrix;
    matrix.rows = static_cast<int64_t>(std::min(stack.counts[index], 1e18f));
    matrix.mean_squares.resize(cols);
    for (size_t c = 0; c < cols && matrix.rows > 0; ++c)
      matrix.mean_squares[c] = stack.sums[index * cols + c] / stack.counts[index];
    out.matrices.emplace(p.name, std::move(matrix));
  }
  if (out.matrices.empty()) fail("{}: no matrix of this model is in it", path.string());
  return out;
}

}  // namespace frugal
