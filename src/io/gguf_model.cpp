#include "io/gguf_model.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "io/gguf_layout.h"
#include "io/model_files.h"
#include "io/parameters.h"
#include "models/gguf_family.h"

namespace frugal {
namespace {

constexpr uint64_t kLongestList = 4096;  // of metadata by layer

// Values by their kind; lists of numbers and flags. Null for what no family needs (texts in lists, long
// lists).
Json json_of(const GgufFile& file, const GgufField& field) {
  const auto of_list = [](const auto& values) {
    Json list = Json::array();
    for (const auto value : values) list.push_back(value);
    return list;
  };
  switch (field.type) {
    case GgufType::boolean: {
      if (!field.list) return file.boolean(field.key);
      if (field.count > kLongestList) return nullptr;
      Json list = Json::array();
      for (const std::byte b : field.data) list.push_back(b != std::byte{0});
      return list;
    }
    case GgufType::string:
      return field.list ? Json() : Json(file.text(field.key));
    case GgufType::f32:
    case GgufType::f64:
      if (!field.list) return file.number(field.key);
      return field.count > kLongestList ? Json() : of_list(file.numbers(field.key));
    default:
      if (!field.list) return file.integer(field.key);
      return field.count > kLongestList ? Json() : of_list(file.integers(field.key));
  }
}

// Dimensions of 1 on the outside say nothing; other programs drop them.
Shape squeezed(Shape shape) {
  while (shape.size() > 1 && shape.front() == 1) shape.erase(shape.begin());
  return shape;
}

bool is_small(Role role) {
  return role == Role::norm || role == Role::bias || role == Role::buffer;
}

// The family that asks for such a file by its facts, else the one that takes any of the architecture.
const GgufFamily& family_of(const GgufFacts& facts, const std::string& architecture) {
  std::set<std::string_view> known;
  const GgufFamily* any = nullptr;
  for (const Architecture* candidate : all_architectures()) {
    const GgufFamily* family = candidate->gguf;
    if (family == nullptr) continue;
    known.insert(family->architecture);
    if (family->architecture != architecture) continue;
    if (family->accepts == nullptr) any = family;
    if (family->accepts != nullptr && family->accepts(facts)) return *family;
  }
  if (any != nullptr) return *any;
  std::string list;
  for (const std::string_view name : known) list += (list.empty() ? "" : ", ") + std::string(name);
  fail("{}: architecture '{}' is not supported; supported: {}", facts.where, architecture, list);
}

// Counts in the metadata decide how much is allocated before any tensor is looked at.
void check_counts(const GgufFacts& facts) {
  const auto value = [&](const char* key) {
    const auto it = facts.metadata.find(key);
    return it != facts.metadata.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
  };
  const auto tensors = static_cast<int64_t>(facts.tensors.size());
  if (value("block_count") > tensors) {
    fail("{}: block_count = {}, but there are only {} tensors", facts.where, value("block_count"), tensors);
  }
  constexpr int64_t kMostExperts = 4096;
  if (value("expert_count") > kMostExperts) {
    fail("{}: expert_count = {}; at most {} are supported", facts.where, value("expert_count"), kMostExperts);
  }
}

void set_token_ids(const GgufFile& file, Json& config) {
  const auto set = [&](const char* key, const char* name) {
    if (file.has(key)) config[name] = file.integer(key, 0, INT32_MAX);
  };
  if (file.has("tokenizer.ggml.model") && file.text("tokenizer.ggml.model") == "llama") {
    config["bos_token_id"] = 1;  // SentencePiece's own
    config["eos_token_id"] = 2;
  }
  set("tokenizer.ggml.bos_token_id", "bos_token_id");
  set("tokenizer.ggml.eos_token_id", "eos_token_id");
}

}  // namespace

bool is_gguf(const fs::path& path) {
  return path.extension() == ".gguf";
}

GgufModel::GgufModel(const fs::path& path) {
  open_parts(path);
  const std::string architecture(file().text("general.architecture"));
  const GgufFacts known = facts(architecture);
  family_ = &family_of(known, architecture);
  check_counts(known);
  try {
    config_ = std::make_unique<Json>(family_->config(known));
    set_token_ids(file(), *config_);
    config_ = std::make_unique<Json>(create_model(*config_)->config());
    widths_ = family_->widths(*config_);
  } catch (const UsageError& error) {  // the file's fault, not the command's
    fail("{}: {}", path.string(), error.what());
  }
  names_ = family_->names();
}

void GgufModel::open_parts(const fs::path& path) {
  files_.push_back(std::make_unique<GgufFile>(path));
  if (!file().has("split.count")) return;
  const int64_t count = file().integer("split.count", 0, 9999);
  if (count <= 1) return;
  const std::string name = path.filename().string(), end = fmt::format("-00001-of-{:05}.gguf", count);
  if (!name.ends_with(end)) {
    fail("{}: a part of a split model; give the first part, NAME{}", path.string(), end);
  }
  for (int64_t i = 2; i <= count; ++i) {
    const fs::path part =
        path.parent_path() /
        fmt::format("{}-{:05}-of-{:05}.gguf", name.substr(0, name.size() - end.size()), i, count);
    if (!fs::exists(part)) fail("{}: part {} of {} is missing: {}", path.string(), i, count, part.string());
    files_.push_back(std::make_unique<GgufFile>(part));
  }
}

GgufFacts GgufModel::facts(const std::string& architecture) const {
  GgufFacts out{
      .where = file().path().string(), .metadata = Json::object(), .tensors = {}, .rope_factors = {}};
  const std::string prefix = architecture + ".";
  for (const GgufField& field : file().metadata()) {
    if (!field.key.starts_with(prefix)) continue;
    if (Json value = json_of(file(), field); !value.is_null())
      out.metadata[field.key.substr(prefix.size())] = std::move(value);
  }
  for (const auto& part : files_) {
    for (const GgufEntry& entry : part->entries()) {
      if (!out.tensors.emplace(entry.name, entry.shape).second) {
        fail("{}: tensor {} is in two parts", out.where, entry.name);
      }
    }
  }
  // Padded vocabularies: the embedding's rows count, and many files say nothing else.
  if (const auto it = out.tensors.find("token_embd.weight");
      it != out.tensors.end() && it->second.size() == 2)
    out.metadata["vocab_size"] = it->second[0];
  if (const GgufEntry* entry = find("rope_freqs.weight")) {
    const Tensor factors = Tensor::alias(entry->shape, *entry->format, entry->data.data(), entry->file);
    out.rope_factors = factors.decoded();
  }
  return out;
}

const GgufEntry* GgufModel::find(const std::string& name) const {
  for (const auto& part : files_) {
    if (const GgufEntry* entry = part->find(name)) return entry;
  }
  return nullptr;
}

// Files before April 2024 (Mixtral's) have a tensor for each expert: blk.0.ffn_gate.3.weight.
void GgufModel::place_alone(Place& place) const {
  constexpr std::string_view kStack = "_exps.weight";
  if (!place.name.ends_with(kStack)) return;
  const std::string name =
      fmt::format("{}.{}.weight", place.name.substr(0, place.name.size() - kStack.size()), place.expert);
  const GgufEntry* entry = find(name);
  if (entry == nullptr) return;
  place.entry = entry;
  place.name = name;
  place.expert = -1;
}

GgufModel::Place GgufModel::place_of(const std::string& parameter) const {
  const GgufPlace wanted = place_in_gguf(names_, parameter);
  Place place;
  place.layout = wanted.layout;
  place.name = wanted.name;
  place.expert = wanted.expert;
  place.entry = find(place.name);
  if (place.entry == nullptr && place.expert >= 0) place_alone(place);
  if (place.layout == GgufLayout::split_kv && place.entry == nullptr) {
    place.entry = find(with_layer("blk.{}.attn_k_b.weight", wanted.layer));
    place.second = find(with_layer("blk.{}.attn_v_b.weight", wanted.layer));
    if (place.second == nullptr) place.entry = nullptr;
  }
  return place;
}

// A view of the bytes, no copy; of a slice when `part` is not negative.
static Tensor view(const GgufEntry& entry, const Shape& shape, int64_t part = -1) {
  const size_t offset = part < 0 ? 0 : static_cast<size_t>(part * entry.format->bytes(count(shape)));
  return Tensor::alias(shape, *entry.format, entry.data.data() + offset, entry.file);
}

Tensor GgufModel::take(Context& ctx, const Place& place, const Shape& shape, const ParameterInfo& info,
                       Weights weights) const {
  if (place.second != nullptr) {
    return join_kv(ctx, view(*place.entry, place.entry->shape), view(*place.second, place.second->shape),
                   widths_);
  }
  const bool to_hf = weights != Weights::mapped;
  if (to_hf && place.layout == GgufLayout::transposed) {
    return transposed_copy(ctx, view(*place.entry, {shape.at(1), shape.at(0)}));
  }
  Tensor tensor = view(*place.entry, shape, place.expert);
  if (to_hf && place.layout == GgufLayout::rotated_rows) {
    tensor = reorder_rotated(ctx, tensor, widths_.head, true);
  }
  const Format& format = tensor.format();  // kernels read blocks at any address, single numbers at their own
  const bool aligned =
      format.block > 1 ||
      reinterpret_cast<uintptr_t>(tensor.data()) % static_cast<uintptr_t>(format.block_bytes) == 0;
  if (weights == Weights::copied_f32 || is_small(info.role) || !aligned) return decoded_copy(ctx, tensor);
  return tensor;
}

namespace {

// Copies of what the model has elsewhere, and tables it computes itself.
bool tolerated(const std::string& name) {
  for (const char* end : {".attn_rot_embd.weight", ".attn_k_b.weight", ".attn_v_b.weight",
                          ".nextn.embed_tokens.weight", ".nextn.shared_head_head.weight"}) {
    if (name.ends_with(end)) return true;
  }
  return name == "rope_freqs.weight";
}

void compare(const GgufEntry& entry, Shape wanted, Complaints& complaints) {
  wanted = squeezed(std::move(wanted));
  if (squeezed(entry.shape) == wanted) return;
  complaints.different(
      fmt::format("{} wants {}, found {}", entry.name, to_string(wanted), to_string(entry.shape)));
}

}  // namespace

void GgufModel::check(const ParameterList& wanted, std::span<const Place> places, Weights weights) const {
  std::unordered_map<std::string, int64_t> experts;  // slices wanted, by name in the file
  for (const Place& p : places) experts[p.name] = std::max(experts[p.name], p.expert + 1);
  Complaints complaints;
  std::unordered_set<std::string> used;
  for (size_t i = 0; i < places.size(); ++i) {
    const Place& place = places[i];
    if (!used.insert(place.name).second) continue;  // the next expert of a stack
    if (place.entry == nullptr) {
      complaints.missing(place.name);
      continue;
    }
    Shape shape = wanted.parameters[i].value->shape();
    if (place.second != nullptr) {
      compare(*place.entry, {widths_.heads, shape.at(1), widths_.nope}, complaints);
      compare(*place.second, {widths_.heads, widths_.value, shape.at(1)}, complaints);
      continue;
    }
    if (place.layout == GgufLayout::transposed && weights != Weights::mapped) std::swap(shape[0], shape[1]);
    if (place.expert >= 0) shape.insert(shape.begin(), experts.at(place.name));
    compare(*place.entry, shape, complaints);
  }
  for (const auto& part : files_) {
    for (const GgufEntry& entry : part->entries()) {
      if (!used.contains(entry.name) && !tolerated(entry.name))
        complaints.unexpected(fmt::format("{} {}", entry.name, to_string(entry.shape)));
    }
  }
  complaints.raise(file().path(), "the metadata");
}

void GgufModel::load(Context& ctx, Model& model, Weights weights) const {
  if (weights == Weights::mapped) {
    WeightLayout layout;
    for (const GgufName& name : names_) {
      layout.adjacent_pairs = layout.adjacent_pairs || name.layout == GgufLayout::rotated_rows;
      layout.outputs_first = layout.outputs_first || name.layout == GgufLayout::transposed;
    }
    model.set_layout(layout);
  }
  const ParameterList wanted(model);
  std::vector<Place> places;
  for (const auto& p : wanted.parameters) places.push_back(place_of(p.name));
  check(wanted, places, weights);
  for (size_t i = 0; i < places.size(); ++i) {
    const auto& p = wanted.parameters[i];
    *p.value = take(ctx, places[i], p.value->shape(), p.info, weights);
  }
}

GenerationConfig gguf_generation_config(const GgufFile& file) {
  GenerationConfig out;
  const auto id = [&](const char* key) -> std::optional<int64_t> {
    const std::string full = std::string("tokenizer.ggml.") + key;
    return file.has(full) ? std::optional(file.integer(full, 0, INT32_MAX)) : std::nullopt;
  };
  out.bos_token_id = id("bos_token_id");
  out.pad_token_id = id("padding_token_id");
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    const auto end = id(key);
    if (end && std::ranges::find(out.eos_token_id, *end) == out.eos_token_id.end())
      out.eos_token_id.push_back(*end);
  }
  const auto number = [&](const char* key) -> std::optional<double> {
    const std::string full = std::string("general.sampling.") + key;
    return file.has(full) ? std::optional(file.number(full)) : std::nullopt;
  };
  out.temperature = number("temp");
  out.top_p = number("top_p");
  out.min_p = number("min_p");
  out.repetition_penalty = number("penalty_repeat");
  if (file.has("general.sampling.top_k")) out.top_k = file.integer("general.sampling.top_k", 0, INT32_MAX);
  return out;
}

}  // namespace frugal
