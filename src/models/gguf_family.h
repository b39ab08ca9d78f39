// What a family is called in GGUF files: keys against config.json, tensor names against HF's, and how stored
// values lie where that is not HF's way. io/ moves the bytes; a family's table here says which.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.h"
#include "models/gguf_names.h"
#include "tensor/tensor.h"

namespace frugal {

// What a file says about its model, beyond the tensors' values.
struct GgufFacts {
  std::string where;  // the file, for errors
  Json metadata;      // keys of the architecture without "<arch>.": numbers, flags, texts and short lists
  std::unordered_map<std::string, Shape> tensors;
  std::vector<float> rope_factors;  // rope_freqs.weight, divisors of the rotary frequencies; mostly empty

  bool has(const std::string& tensor) const { return tensors.contains(tensor); }
};

// A model as GGUF describes it. Whole numbers become u32, others f32, as other programs expect.
struct GgufDescription {
  Json metadata;  // keys without "<arch>."
  std::vector<float> rope_factors;
};

struct GgufFamily {
  std::string_view architecture;                // general.architecture
  bool (*accepts)(const GgufFacts&) = nullptr;  // which of several families of that architecture; null: any
  std::vector<GgufName> (*names)() = nullptr;
  // HF's config.json, with model_type. Error (file, key) on what is missing or not supported.
  Json (*config)(const GgufFacts&) = nullptr;
  // From HF's config.json, complete (Model::config()). Error on what GGUF cannot express.
  GgufDescription (*describe)(const Json& config) = nullptr;
  GgufWidths (*widths)(const Json& config) = nullptr;
  bool writes_tied_head = false;  // other programs want output.weight even when it is the embedding
};

// One line of a table of keys.
struct GgufKey {
  enum class Kind { integer, number, flag };
  std::string_view gguf, hf;
  Kind kind = Kind::integer;
  bool required = true;
};
// Copies keys between the two forms. Error on a missing required key or another type.
void read_gguf_keys(const GgufFacts& facts, std::span<const GgufKey> keys, Json& config);
void write_gguf_keys(const Json& config, std::span<const GgufKey> keys, Json& metadata);

// rope.freq_base, rope.scaling.* and the factors against rope_theta and rope_scaling, `width` values rotated.
void read_gguf_rope(const GgufFacts& facts, int64_t width, Json& config);
void write_gguf_rope(const Json& config, int64_t width, GgufDescription& out);
// The scaling a config asks for, under either of its names; null for none.
Json rope_scaling_of(const Json& config);

extern const GgufFamily kLlamaGguf, kMistralGguf, kQwen2Gguf, kQwen3Gguf, kQwen2MoeGguf, kQwen3MoeGguf,
    kDeepseekV2Gguf, kDeepseekV3Gguf, kGpt2Gguf, kPanguEmbeddedGguf, kGptOssGguf, kMixtralGguf;

}  // namespace frugal
