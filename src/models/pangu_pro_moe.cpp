// Pangu Pro MoE 72B (Tang et al. 2025, arXiv 2505.21411): a mixture of grouped experts. As many groups as
// experts are chosen; a softmax over all experts scores them, every group gives its best one, and a learnt
// factor per expert multiplies its score. Weights are not renormalised. Attention has biases.
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/llama_like.h"

namespace frugal {
namespace {

constexpr const char* kName = "PanguProMoE";

struct PanguProMoeConfig : LlamaLikeConfig {
  int64_t num_experts = 64, num_experts_per_tok = 8, moe_intermediate_size = 1344;
  int64_t shared_expert_intermediate_size = 5376;
  void visit(FieldVisitor& v) {
    LlamaLikeConfig::visit(v);
    v.field("num_experts", num_experts, "experts to choose from");
    v.field("num_experts_per_tok", num_experts_per_tok, "experts chosen per token, one of every group");
    v.field("moe_intermediate_size", moe_intermediate_size, "width of one expert");
    v.field("shared_expert_intermediate_size", shared_expert_intermediate_size,
            "width of the shared experts together; 0 for none");
  }
};

void check(const PanguProMoeConfig& c) {
  check_llama_like(c, kName);
  require_at_least(kName, "num_experts", c.num_experts, 1);
  require_at_least(kName, "moe_intermediate_size", c.moe_intermediate_size, 1);
  require_at_least(kName, "shared_expert_intermediate_size", c.shared_expert_intermediate_size, 0);
  require_divides(kName, "num_experts_per_tok", c.num_experts_per_tok, "num_experts", c.num_experts);
}

MoeConfig moe(const PanguProMoeConfig& c, int64_t layer) {
  return {.hidden = c.hidden_size,
          .inner = c.moe_intermediate_size,
          .shared_inner = c.shared_expert_intermediate_size,
          .router = {.experts = c.num_experts,
                     .top_k = c.num_experts_per_tok,
                     .groups = c.num_experts_per_tok,
                     .score = ops::RouterScore::softmax,
                     .normalise = false,
                     .layer = static_cast<int>(layer),
                     .per_group = true},
          .has_bias = false,
          .shared_name = ".shared_expert",
          .router_scale = true};
}

std::unique_ptr<Model> create(const Json& json) {
  PanguProMoeConfig c;
  c.vocab_size = 153376;
  c.hidden_size = 5120;
  c.num_hidden_layers = 48;
  c.num_attention_heads = 40;
  c.num_key_value_heads = 8;
  c.max_position_embeddings = 131072;
  c.rms_norm_eps = 1e-5;
  c.rope_theta = 16e6;
  read_config(c, json);
  check(c);
  const auto ffn = [c](int64_t layer) -> std::unique_ptr<FfnModule> {
    return std::make_unique<MoeFfn>(moe(c, layer));
  };
  Json fields = write_fields(c);
  fields.erase("intermediate_size");  // there is no dense feed-forward
  return build_llama_like(json, fields, c,
                          {.model_type = kName,
                           .hf_class = "PanguProMoEForCausalLM",
                           .qkv_bias = true,
                           .output_bias = true,
                           .ffn = ffn});
}

}  // namespace

extern const Architecture kPanguProMoe{kName, "PanguProMoEForCausalLM", create};

}  // namespace frugal
