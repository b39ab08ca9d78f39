// openPangu Embedded 1B and 7B (Chen et al. 2025, arXiv 2505.22375): Llama with biases on all four
// projections of attention.
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/gguf_family.h"
#include "models/llama_like.h"

namespace frugal {
namespace {

struct PanguEmbeddedConfig : LlamaLikeConfig {
  bool bias = true;
  void visit(FieldVisitor& v) {
    LlamaLikeConfig::visit(v);
    v.field("bias", bias, "biases in attention");
  }
};

std::unique_ptr<Model> create(const Json& json) {
  PanguEmbeddedConfig c;
  c.vocab_size = 153376;
  c.intermediate_size = 12800;
  c.num_hidden_layers = 34;
  c.num_key_value_heads = 8;
  c.max_position_embeddings = 32768;
  c.rms_norm_eps = 1e-5;
  c.rope_theta = 16e6;
  read_config(c, json);
  check_llama_like(c, "PanguEmbedded");
  const auto ffn = [c](int64_t) -> std::unique_ptr<FfnModule> {
    return std::make_unique<DenseFfn>(c.hidden_size, c.intermediate_size);
  };
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = "PanguEmbedded",
                           .hf_class = "PanguEmbeddedForCausalLM",
                           .qkv_bias = c.bias,
                           .output_bias = c.bias,
                           .ffn = ffn});
}

}  // namespace

extern const Architecture kPanguEmbedded{"PanguEmbedded", "PanguEmbeddedForCausalLM", create,
                                         &kPanguEmbeddedGguf};

}  // namespace frugal
