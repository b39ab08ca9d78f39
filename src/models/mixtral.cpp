// Mixtral (Jiang et al. 2024): Mistral's attention, experts chosen by a softmax over all and weighed by it
// renormalised over the chosen.
#include <nlohmann/json.hpp>

#include "models/gguf_family.h"
#include "models/llama_like.h"

namespace frugal {
namespace {

struct MixtralConfig : LlamaLikeConfig {
  WindowConfig windows;
  int64_t num_local_experts = 8, num_experts_per_tok = 2;
  void visit(FieldVisitor& v) {
    LlamaLikeConfig::visit(v);
    windows.visit(v);
    v.field("num_local_experts", num_local_experts, "experts to choose from");
    v.field("num_experts_per_tok", num_experts_per_tok, "experts chosen per token");
  }
};

std::unique_ptr<Model> create(const Json& json) {
  constexpr const char* kName = "mixtral";
  MixtralConfig c;
  c.num_key_value_heads = 8;
  c.intermediate_size = 14336;
  c.max_position_embeddings = 131072;
  c.rms_norm_eps = 1e-5;
  c.rope_theta = 1e6;
  read_config(c, json);
  check_llama_like(c, kName);
  require_at_least(kName, "num_local_experts", c.num_local_experts, 1);
  require_at_least(kName, "num_experts_per_tok", c.num_experts_per_tok, 1);
  require_at_most(kName, "num_experts_per_tok", c.num_experts_per_tok, "num_local_experts",
                  c.num_local_experts);
  const auto ffn = [c](int64_t layer) -> std::unique_ptr<FfnModule> {
    return std::make_unique<MoeFfn>(
        MoeConfig{.hidden = c.hidden_size,
                  .inner = c.intermediate_size,
                  .shared_inner = 0,
                  .router = {.experts = c.num_local_experts,
                             .top_k = c.num_experts_per_tok,
                             .score = ops::RouterScore::softmax,
                             .normalise = true,
                             .layer = static_cast<int>(layer)},
                  .has_bias = false,
                  .names = {.gate = ".experts.{}.w1", .up = ".experts.{}.w3", .down = ".experts.{}.w2"}});
  };
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = kName,
                           .hf_class = "MixtralForCausalLM",
                           .names = {.ffn = ".block_sparse_moe"},
                           .window = [c](int64_t layer) { return c.windows.window(layer, true); },
                           .ffn = ffn});
}

}  // namespace

extern const Architecture kMixtral{"mixtral", "MixtralForCausalLM", create, &kMixtralGguf};

}  // namespace frugal
