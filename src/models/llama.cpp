// Llama 2 and 3.x (Touvron et al. 2023; Grattafiori et al. 2024), SmolLM2 and everything else that says
// model_type "llama": grouped-query attention, SwiGLU, RMSNorm, rotary embedding in halves. The dense
// baseline of every saving.
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/gguf_family.h"
#include "models/llama_like.h"

namespace frugal {
namespace {

struct LlamaConfig : LlamaLikeConfig {
  bool attention_bias = false, mlp_bias = false;
  void visit(FieldVisitor& v) {
    LlamaLikeConfig::visit(v);
    v.field("attention_bias", attention_bias, "biases in attention");
    v.field("mlp_bias", mlp_bias, "biases in the feed-forward");
  }
};

std::unique_ptr<Model> create(const Json& json) {
  LlamaConfig c;
  read_config(c, json);
  check_llama_like(c, "llama");
  const auto ffn = [c](int64_t) -> std::unique_ptr<FfnModule> {
    return std::make_unique<DenseFfn>(c.hidden_size, c.intermediate_size, ParameterInfo{}, c.mlp_bias);
  };
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = "llama",
                           .hf_class = "LlamaForCausalLM",
                           .qkv_bias = c.attention_bias,
                           .output_bias = c.attention_bias,
                           .ffn = ffn});
}

}  // namespace

extern const Architecture kLlama{"llama", "LlamaForCausalLM", create, &kLlamaGguf};

}  // namespace frugal
