#include "io/gguf_save.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "io/gguf_layout.h"
#include "io/parameters.h"
#include "models/gguf_family.h"
#include "tensor/block_scales.h"

namespace frugal {
namespace {

// One tensor of the file, from one parameter, or from one of every expert.
struct Output {
  std::string name;
  Shape shape;
  const Format* format = nullptr;
  GgufLayout layout = GgufLayout::same;
  int part = 0;  // split_kv: 0 for k_b, 1 for v_b
  std::vector<const ParameterList::Parameter*> sources;
};

const GgufFamily& family_of(const Json& config) {
  const Architecture* architecture = find_architecture(config);
  CHECK(architecture != nullptr, "a model of no known architecture");
  if (architecture->gguf == nullptr) {
    fail("GGUF has no architecture for {}: no other program could read the file; write a directory instead",
         architecture->model_type);
  }
  return *architecture->gguf;
}

// Whole numbers as u32, others as f32, lists of flags: what other programs expect of these keys.
void add(const std::string& key, const Json& value, GgufMetadata& metadata) {
  if (value.is_boolean()) {
    metadata.add(key, value.get<bool>());
  } else if (value.is_number_integer()) {
    const int64_t number = value.get<int64_t>();
    if (number < 0 || number > UINT32_MAX) fail("{} = {} does not fit in GGUF", key, number);
    metadata.add(key, static_cast<uint32_t>(number));
  } else if (value.is_number_float()) {
    metadata.add(key, static_cast<float>(value.get<double>()));
  } else if (value.is_string()) {
    metadata.add(key, value.get<std::string>());
  } else {
    CHECK(value.is_array());
    std::vector<std::byte> flags;
    for (const Json& flag : value) flags.push_back(std::byte{flag.get<bool>()});
    metadata.copy({key, GgufType::boolean, true, flags.size(), flags});
  }
}

// general.file_type, which other programs show and nobody needs.
uint32_t file_type(const Format& format) {
  constexpr std::pair<std::string_view, uint32_t> kTypes[] = {
      {"f32", 0},   {"f16", 1},   {"q4_0", 2},    {"q4_1", 3},  {"q8_0", 7},
      {"q5_0", 8},  {"q5_1", 9},  {"q2_k", 10},   {"q3_k", 12}, {"q4_k", 15},
      {"q5_k", 17}, {"q6_k", 18}, {"iq4_nl", 25}, {"bf16", 32}, {"mxfp4", 38}};
  for (const auto& [name, number] : kTypes) {
    if (name == format.name) return number;
  }
  return 1024;  // "guessed"
}

bool stays_f32(const ParameterList::Parameter& p, const std::string& name) {
  const Role role = p.info.role;
  return role == Role::norm || role == Role::bias || role == Role::buffer || role == Role::router ||
         p.value->shape().size() == 1 || name == "position_embd.weight";
}

class Plan {
 public:
  Plan(const ParameterList& parameters, const GgufFamily& family, const GgufWidths& widths,
       const GgufSaveOptions& options)
      : names_(family.names()), widths_(widths), options_(options) {
    tied_ = parameters.aliases.contains("lm_head.weight") && !family.writes_tied_head;
    layers_ = count_layers(parameters);
    for (const auto& p : parameters.parameters) add_parameter(p);
  }
  void add_tied_head(const ParameterList& parameters) {
    for (const auto& p : parameters.parameters) {
      if (p.info.role == Role::embedding)
        return add_output("output.weight", p, GgufLayout::same, 0, p.value->shape());
    }
  }
  const std::vector<Output>& outputs() const { return outputs_; }

 private:
  void add_parameter(const ParameterList::Parameter& p) {
    const GgufPlace place = place_in_gguf(names_, p.name);
    if (place.expert >= 0) return add_expert(place.name, p, place.expert);
    if (place.layout != GgufLayout::split_kv)
      return add_output(place.name, p, place.layout, 0, p.value->shape());
    const int64_t rank = p.value->cols();
    add_output(with_layer("blk.{}.attn_k_b.weight", place.layer), p, GgufLayout::split_kv, 0,
               {widths_.heads, rank, widths_.nope});
    add_output(with_layer("blk.{}.attn_v_b.weight", place.layer), p, GgufLayout::split_kv, 1,
               {widths_.heads, widths_.value, rank});
  }
  void add_expert(const std::string& name, const ParameterList::Parameter& p, int64_t expert) {
    if (expert == 0) {
      Shape shape = p.value->shape();
      shape.insert(shape.begin(), 0);
      add_output(name, p, GgufLayout::same, 0, shape);
      stacks_[name] = outputs_.size() - 1;
    } else {
      outputs_[stacks_.at(name)].sources.push_back(&p);
    }
    Output& stack = outputs_[stacks_.at(name)];
    CHECK(std::ssize(stack.sources) == expert + 1, "experts of {} out of order", name);
    stack.shape[0] = expert + 1;
  }
  void add_output(const std::string& name, const ParameterList::Parameter& p, GgufLayout layout, int part,
                  Shape shape) {
    if (layout == GgufLayout::transposed) std::swap(shape.at(0), shape.at(1));
    if (shape.size() > 1 && shape.front() == 1) shape.erase(shape.begin());  // a gate of one output
    Output out{name, shape, &format_of(name, p, shape), layout, part, {&p}};
    outputs_.push_back(std::move(out));
  }
  const Format& format_of(const std::string& name, const ParameterList::Parameter& p,
                          const Shape& shape) const {
    if (stays_f32(p, name) || shape.size() == 1) return formats::f32;
    const Format* wanted = options_.format;
    if (options_.mix != nullptr) wanted = &options_.mix->format_of(name, layers_, tied_);
    if (wanted == nullptr) {
      const bool plain = p.value->format().ggml >= 0 && p.value->as_stored();
      wanted = plain ? &p.value->format() : is_split_mxfp4(*p.value) ? &formats::mxfp4 : &formats::bf16;
    }
    const Format& used = format_for_rows(*wanted, shape.back());
    if (&used != wanted && options_.substituted) options_.substituted(name, *wanted, used);
    return used;
  }

  int64_t count_layers(const ParameterList& parameters) const {
    int64_t layers = 0;
    for (const auto& p : parameters.parameters)
      layers = std::max(layers, place_in_gguf(names_, p.name).layer + 1);
    return layers;
  }

  std::vector<GgufName> names_;
  GgufWidths widths_;
  const GgufSaveOptions& options_;
  int64_t layers_ = 0;
  bool tied_ = false;  // the embedding is the head, too
  std::unordered_map<std::string, size_t> stacks_;
  std::vector<Output> outputs_;
};

// The values of one source in the order of the file; in any format.
Tensor arranged(Context& ctx, const Output& out, const Tensor& value, const GgufWidths& widths) {
  switch (out.layout) {
    case GgufLayout::rotated_rows:
      // Factors belong to blocks of rows in HF's order.
      return reorder_rotated(ctx, value.as_stored() ? value : decoded_copy(ctx, value), widths.head, false);
    case GgufLayout::transposed:
      return transposed_copy(ctx, value);
    case GgufLayout::split_kv: {
      SplitKv split = split_kv(ctx, value, widths);
      return out.part == 0 ? split.k_b : split.v_b;
    }
    case GgufLayout::same:
      break;
  }
  return value;
}

// What the columns of a source count in the order of the file; empty: all alike.
std::span<const float> weights_of(const Importance* importance, const Output& out,
                                  const ParameterList::Parameter& source, int64_t cols) {
  // k_b is stored transposed: its columns are no inputs.
  if (importance == nullptr || (out.layout == GgufLayout::split_kv && out.part == 0)) return {};
  const Importance::Matrix* matrix = importance->find(source.name);
  if (matrix == nullptr || matrix->rows == 0) return {};
  if (std::ssize(matrix->mean_squares) != cols) {
    fail("the importance matrix has {} columns for {}, the model {}", matrix->mean_squares.size(), out.name,
         cols);
  }
  return matrix->mean_squares;
}

// `weights`: of the columns, or empty.
void write_values(Context& ctx, GgufWriter& writer, const Output& out, const Tensor& value,
                  std::span<const float> weights) {
  const Format& format = *out.format;
  if (&format == &value.format() && value.as_stored()) {
    return writer.write(out.name, {value.data(), static_cast<size_t>(value.bytes())});
  }
  const bool packed = &format == &formats::mxfp4 && is_split_mxfp4(value);
  const int64_t cols = value.cols(), rows = value.rows();
  const int64_t at_once = std::max<int64_t>(1, (int64_t{1} << 22) / cols);
  std::vector<std::byte> encoded;
  for (int64_t begin = 0; begin < rows; begin += at_once) {
    const int64_t n = std::min(at_once, rows - begin);
    encoded.resize(static_cast<size_t>(format.bytes(n * cols)));
    ctx.pool.parallel_for(n, std::max<int64_t>(1, (1 << 14) / cols), [&](int64_t first, int64_t last, int) {
      std::byte* to = encoded.data() + format.bytes(first * cols);
      if (packed) return pack_mxfp4(value, begin + first, begin + last, to);
      std::vector<float> values(static_cast<size_t>((last - first) * cols));
      value.decode_rows(begin + first, begin + last, values.data());
      for (int64_t r = first; r < last; ++r) {
        format.encode(values.data() + (r - first) * cols, to + format.bytes((r - first) * cols), cols,
                      weights.empty() ? nullptr : weights.data());
      }
    });
    writer.write(out.name, encoded);
  }
}

}  // namespace

void save_gguf(Context& ctx, const fs::path& path, Model& model, const GgufMetadata& tokenizer,
               const GgufSaveOptions& options) {
  CHECK(model.layout() == WeightLayout{}, "weights to be saved are loaded as mapped_hf or copied_f32");
  if (options.format != nullptr && (options.format->ggml < 0 || options.format->encode_weighted == nullptr)) {
    fail_usage("weights as {}: GGUF files are not written in that format", options.format->name);
  }
  const Json config = model.config();
  const GgufFamily& family = family_of(config);
  const GgufDescription description = family.describe(config);
  const GgufWidths widths = family.widths(config);
  const ParameterList parameters(model);
  Plan plan(parameters, family, widths, options);
  if (family.writes_tied_head && parameters.aliases.contains("lm_head.weight"))
    plan.add_tied_head(parameters);

  GgufMetadata metadata;
  metadata.add("general.architecture", family.architecture);
  metadata.add("general.type", "model");
  if (!options.name.empty()) metadata.add("general.name", options.name);
  const Format* widest = nullptr;  // the format of most values
  int64_t most = 0;
  std::unordered_map<const Format*, int64_t> values;
  for (const Output& out : plan.outputs()) {
    if (const int64_t n = values[out.format] += count(out.shape); n > most) most = n, widest = out.format;
  }
  metadata.add("general.file_type", file_type(*widest));
  metadata.add("general.quantization_version", uint32_t{2});
  const std::string prefix = std::string(family.architecture) + ".";
  for (const auto& [key, value] : description.metadata.items()) add(prefix + key, value, metadata);
  metadata.add_all(tokenizer);

  std::vector<GgufDeclaration> declarations;
  if (!description.rope_factors.empty()) {
    declarations.push_back({"rope_freqs.weight", &formats::f32, {std::ssize(description.rope_factors)}});
  }
  for (const Output& out : plan.outputs()) declarations.push_back({out.name, out.format, out.shape});
  GgufWriter writer(path, metadata, declarations);
  writer.write("rope_freqs.weight", std::as_bytes(std::span(description.rope_factors)));
  for (const Output& out : plan.outputs()) {
    for (const ParameterList::Parameter* source : out.sources) {
      CHECK(source->value->allocated(), "{} has no values", source->name);
      const Tensor value = arranged(ctx, out, *source->value, widths);
      write_values(ctx, writer, out, value, weights_of(options.importance, out, *source, value.cols()));
    }
  }
  writer.commit();
}

void write_generation_config(const GenerationConfig& generation, GgufMetadata& metadata) {
  constexpr const char* kKeys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  size_t used = 0;  // the first id is EOS, which the tokenizer says
  for (size_t i = 1; i < generation.eos_token_id.size() && used < std::size(kKeys); ++i) {
    metadata.add(kKeys[used++], static_cast<uint32_t>(generation.eos_token_id[i]));
  }
  const auto number = [&](const char* key, const std::optional<double>& value) {
    if (value) metadata.add(key, static_cast<float>(*value));
  };
  number("general.sampling.temp", generation.temperature);
  number("general.sampling.top_p", generation.top_p);
  number("general.sampling.min_p", generation.min_p);
  number("general.sampling.penalty_repeat", generation.repetition_penalty);
  if (generation.top_k) metadata.add("general.sampling.top_k", static_cast<int32_t>(*generation.top_k));
}

}  // namespace frugal
