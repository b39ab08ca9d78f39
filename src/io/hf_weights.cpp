#include "io/hf_weights.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "io/gguf_layout.h"
#include "models/gguf_names.h"
#include "models/hf_stack.h"
#include "tensor/block_scales.h"

namespace frugal {
namespace {

constexpr int64_t kMxBlock = 32, kMxBytes = 16;

bool tolerated(const std::string& name, const ParameterList& wanted, const SafetensorsDirectory& files) {
  if (wanted.aliases.contains(name) || name.ends_with("rotary_emb.inv_freq")) return true;
  const auto& [prefix, first, mark] = wanted.spare;
  if (prefix.empty() || !name.starts_with(prefix)) return false;
  const NumberedName key = numbered(name.substr(prefix.size()));
  return key.pattern.starts_with("{}.") && key.numbers.front() >= first &&
         files.find(prefix + std::to_string(key.numbers.front()) + mark) != nullptr;
}

// Small tensors are read by kernels that take f32 only.
bool is_small(Role role) {
  return role == Role::norm || role == Role::bias || role == Role::buffer;
}

std::string described(const SafetensorsEntry& entry) {
  return entry.name + " " + to_string(entry.shape);
}

// Every step-th column of (in, columns) as rows [begin, end) of (out, in).
template <class Number>
void transpose_columns(const std::byte* from, int64_t in, int64_t columns, int64_t step, int64_t begin,
                       int64_t end, std::byte* to) {
  constexpr int64_t kTile = 64;
  for (int64_t i = 0; i < in; i += kTile) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t col = i; col < std::min(in, i + kTile); ++col) {
        std::memcpy(to + static_cast<size_t>(row * in + col) * sizeof(Number),
                    from + static_cast<size_t>(col * columns + row * step) * sizeof(Number), sizeof(Number));
      }
    }
  }
}

}  // namespace

HfWeights::HfWeights(const SafetensorsDirectory& files, const Json& config) : files_(files) {
  if (const Architecture* architecture = find_architecture(config)) stacks_ = architecture->stacks;
  const auto it = config.find("quantization_config");
  if (it == config.end() || it->is_null()) return;
  const auto bad = [&](const Json& value) {
    fail(
        "{}: config.json: quantization_config {} is not supported; supported: quant_method fp8 with "
        "weight_block_size [rows, columns], and mxfp4",
        files_.path().string(), to_text(value));
  };
  if (!it->is_object()) bad(*it);
  const Json method = it->value("quant_method", Json());
  if (method != "fp8" && method != "mxfp4") bad(*it);
  fp8_ = method == "fp8";
  const Json block = it->value("weight_block_size", Json());
  if (!fp8_ || block.is_null()) return;
  const auto good = [](const Json& n) { return n.is_number_unsigned() && n > 0 && n <= (1 << 20); };
  if (!block.is_array() || block.size() != 2 || !good(block[0]) || !good(block[1])) bad(*it);
  block_rows_ = block[0].get<int64_t>();
  block_cols_ = block[1].get<int64_t>();
}

HfWeights::Place HfWeights::place_of(const std::string& parameter) const {
  Place place{.name = parameter};
  if (!stacks_.empty()) {
    const NumberedName key = numbered(parameter);
    for (const HfStack& stack : stacks_) {
      if (stack.parameter != key.pattern) continue;
      place.stack = &stack;
      place.name = with_layer(stack.tensor, key.numbers.at(0));
      place.expert = key.numbers.at(1);
    }
  }
  place.entry = files_.find(place.name);
  if (place.stack == nullptr) {
    place.factors = files_.find(place.name + "_scale_inv");
  } else if (place.entry == nullptr) {
    place.entry = files_.find(place.name + "_blocks");
    place.factors = files_.find(place.name + "_scales");
  }
  return place;
}

void HfWeights::compare(const Place& place, const ParameterList::Parameter& p, int64_t experts,
                        Complaints& complaints) const {
  const auto expect = [&](const SafetensorsEntry& entry, const Shape& shape) {
    if (entry.shape != shape) {
      complaints.different(
          fmt::format("{} wants {}, found {}", entry.name, to_string(shape), to_string(entry.shape)));
    }
  };
  const SafetensorsEntry& entry = *place.entry;
  const Shape& shape = p.value->shape();
  if (place.stack == nullptr) {
    expect(entry, shape);
    if (entry.dtype != "F8_E4M3" || shape.size() != 2) return;
    if (place.factors != nullptr) {
      expect(*place.factors, factor_shape(shape, block_rows_, block_cols_));
    } else if (fp8_) {
      complaints.missing(entry.name + "_scale_inv");
    }
    return;
  }
  const int64_t out = shape[0] * place.stack->step;
  if (shape.size() == 1) return expect(entry, {experts, out});
  if (!entry.name.ends_with("_blocks")) return expect(entry, {experts, shape[1], out});
  if (place.factors == nullptr) return complaints.missing(place.name + "_scales");
  if (shape[1] % kMxBlock != 0) {
    return complaints.different(
        fmt::format("{}: MXFP4 in rows of {}, not a multiple of {}", entry.name, shape[1], kMxBlock));
  }
  expect(entry, {experts, out, shape[1] / kMxBlock, kMxBytes});
  expect(*place.factors, {experts, out, shape[1] / kMxBlock});
  for (const SafetensorsEntry* part : {&entry, place.factors}) {
    if (part->dtype != "U8") complaints.different(part->name + " wants U8, found " + part->dtype);
  }
}

void HfWeights::check(const ParameterList& wanted, std::span<const Place> places) const {
  std::unordered_map<std::string, int64_t> experts;  // slices wanted of each stack
  for (const Place& p : places) experts[p.name] = std::max(experts[p.name], p.expert + 1);
  Complaints complaints;
  std::unordered_set<std::string> known;
  for (size_t i = 0; i < places.size(); ++i) {
    const Place& place = places[i];
    if (place.expert > 0) continue;  // as its stack's first
    if (place.entry == nullptr) {
      if (known.insert(place.name).second)
        complaints.missing(
            place.stack != nullptr
                ? place.name
                : fmt::format("{} {}", place.name, to_string(wanted.parameters[i].value->shape())));
      continue;
    }
    compare(place, wanted.parameters[i], experts.at(place.name), complaints);
    known.insert(place.entry->name);
    if (place.factors != nullptr) known.insert(place.factors->name);
  }
  for (const SafetensorsEntry& entry : files_.entries()) {
    if (!known.contains(entry.name) && !tolerated(entry.name, wanted, files_))
      complaints.unexpected(described(entry));
  }
  complaints.raise(files_.path(), "config.json");
}

const Format& HfWeights::format_of(const SafetensorsEntry& entry) const {
  const Format* format = find_safetensors_format(entry.dtype);
  if (format == nullptr) {
    fail("{}: tensor {} is stored as {}, which is not supported yet", files_.path().string(), entry.name,
         entry.dtype);
  }
  return *format;
}

// Few: they may as well be f32.
Tensor HfWeights::factors(Context& ctx, const SafetensorsEntry& entry) const {
  const Format& format = entry.dtype == "F8_E8M0" ? formats::f8_e8m0 : format_of(entry);
  return decoded_copy(ctx, Tensor::alias(entry.shape, format, entry.data.data(), entry.file));
}

// The parameter's part of a stack: MXFP4 stays mapped, others are copied, for they lie transposed.
Tensor HfWeights::slice(Context& ctx, const Place& place, const Shape& shape) const {
  const int64_t first = place.stack->first, step = place.stack->step;
  const SafetensorsEntry& entry = *place.entry;
  const int64_t out = shape[0], columns = out * step, in = shape.size() == 1 ? 1 : shape[1];
  if (place.factors != nullptr) {
    const int64_t row = place.expert * columns + first, blocks = in / kMxBlock;
    const Tensor exponents = Tensor::alias({out, blocks}, formats::f8_e8m0,
                                           place.factors->data.data() + row * blocks, place.factors->file);
    return Tensor::alias(shape, formats::f4_e2m1, entry.data.data() + row * blocks * kMxBytes, entry.file)
        .with_scales({exponents, 1, kMxBlock, step});
  }
  const Format& format = format_of(entry);
  if (format.block != 1 || (format.block_bytes != 2 && format.block_bytes != 4)) {
    fail("{}: tensor {} is stored as {}; expected F32, BF16 or F16, or _blocks and _scales",
         files_.path().string(), entry.name, entry.dtype);
  }
  Tensor part = Tensor::empty(ctx, shape, format);
  if (ctx.dry_run()) return part;
  constexpr int64_t kRows = 64;
  ctx.pool.parallel_for((out + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin * kRows; row < std::min(out, end * kRows); row += kRows)
      copy_rows(place, row, std::min(out, row + kRows), part);
  });
  return part;
}

// Rows of the parameter's part of a stack whose numbers are 2 or 4 bytes each.
void HfWeights::copy_rows(const Place& place, int64_t begin, int64_t end, Tensor& to) const {
  const int64_t step = place.stack->step, columns = to.dim(0) * step, in = to.size() / to.dim(0);
  const std::byte* from =
      place.entry->data.data() + to.format().bytes(place.expert * in * columns + place.stack->first);
  const auto copy = to.format().block_bytes == 2 ? transpose_columns<uint16_t> : transpose_columns<float>;
  copy(from, in, columns, step, begin, end, to.data());
}

bool HfWeights::copy_slice(const std::string& parameter, Tensor& to) const {
  const Place place = place_of(parameter);
  if (place.stack == nullptr) return false;
  const SafetensorsEntry* entry = place.entry;
  if (entry == nullptr || place.factors != nullptr) {
    fail("{}: has no tensor '{}', where '{}' should be", files_.path().string(), place.name, parameter);
  }
  Shape tail = to.shape();
  tail[0] *= place.stack->step;
  std::ranges::reverse(tail);  // (in, columns), or (columns)
  const bool fits = entry->shape.size() == tail.size() + 1 && entry->shape[0] > place.expert &&
                    std::equal(tail.begin(), tail.end(), entry->shape.begin() + 1);
  if (!fits || entry->dtype != to.format().safetensors) {
    fail("{}: '{}' is {} {}, expected {} in slices of {}", files_.path().string(), entry->name, entry->dtype,
         to_string(entry->shape), to.format().safetensors, to_string(tail));
  }
  copy_rows(place, 0, to.dim(0), to);
  return true;
}

Tensor HfWeights::take(Context& ctx, const Place& place, const ParameterList::Parameter& p,
                       Weights weights) const {
  const bool decoded = weights == Weights::copied_f32 || is_small(p.info.role);
  if (place.stack != nullptr) {
    Tensor part = slice(ctx, place, p.value->shape());
    return decoded && !part.is_f32() ? decoded_copy(ctx, part) : part;
  }
  const SafetensorsEntry& entry = *place.entry;
  const Format& format = format_of(entry);
  Tensor stored = Tensor::alias(entry.shape, format, entry.data.data(), entry.file);
  if (place.factors != nullptr && entry.dtype == "F8_E4M3")
    stored = stored.with_scales({factors(ctx, *place.factors), block_rows_, block_cols_});
  const auto address = reinterpret_cast<uintptr_t>(entry.data.data());
  const bool aligned = address % static_cast<uintptr_t>(format.block_bytes) == 0;
  return decoded || !aligned ? decoded_copy(ctx, stored) : stored;
}

void HfWeights::load(Context& ctx, Model& model, Weights weights) const {
  const ParameterList wanted(model);
  std::vector<Place> places;
  for (const auto& p : wanted.parameters) places.push_back(place_of(p.name));
  check(wanted, places);
  for (size_t i = 0; i < places.size(); ++i) {
    *wanted.parameters[i].value = take(ctx, places[i], wanted.parameters[i], weights);
  }
}

}  // namespace frugal
