// openPangu-Ultra-MoE 718B (Tang et al. 2025, arXiv 2505.04519): latent attention, experts and multi-token
// prediction as in DeepSeek-V3, with sandwich norms. The router scores by sigmoid and takes the best experts
// of all: no groups, no balancing bias.
#include <nlohmann/json.hpp>

#include "models/deepseek_like.h"

namespace frugal {
namespace {

constexpr const char* kName = "pangu_ultra_moe";

struct PanguUltraMoeConfig : DeepseekConfig {
  bool sandwich_norm = false;
  void visit(FieldVisitor& v) {
    v.field("vocab_size", vocab_size, "tokens");
    v.field("hidden_size", hidden_size, "width of the residual stream");
    v.field("intermediate_size", intermediate_size, "width of a dense feed-forward");
    v.field("moe_intermediate_size", moe_intermediate_size, "width of one expert");
    v.field("num_hidden_layers", num_hidden_layers, "blocks");
    v.field("num_nextn_predict_layers", num_nextn_predict_layers, "multi-token-prediction depth");
    v.field("num_attention_heads", num_attention_heads, "heads");
    v.field("n_shared_experts", n_shared_experts, "experts every token meets");
    v.field("n_routed_experts", n_routed_experts, "experts to choose from");
    v.field("num_experts_per_tok", num_experts_per_tok, "experts chosen per token");
    v.field("first_k_dense_replace", first_k_dense_replace, "first blocks with a dense feed-forward");
    v.field("routed_scaling_factor", routed_scaling_factor, "multiplies routing weights");
    v.field("norm_topk_prob", norm_topk_prob, "routing weights sum to one before scaling");
    v.field("kv_lora_rank", kv_lora_rank, "width of the cached latent");
    v.field("q_lora_rank", q_lora_rank, "width of the query latent; null for none");
    v.field("qk_rope_head_dim", qk_rope_head_dim, "rotated part of a head");
    v.field("qk_nope_head_dim", qk_nope_head_dim, "unrotated part of a head");
    v.field("v_head_dim", v_head_dim, "width of a value head");
    v.field("max_position_embeddings", max_position_embeddings, "longest context");
    v.field("rms_norm_eps", rms_norm_eps, "epsilon of the norms");
    v.field("rope_theta", rope_theta, "base of the rotary frequencies");
    v.field("rope_parameters", rope_parameters, "rope_theta as transformers 5 writes it");
    v.field("initializer_range", initializer_range, "standard deviation of initial weights");
    v.field("tie_word_embeddings", tie_word_embeddings, "the head is the embedding");
    v.field("attention_bias", attention_bias, "false");
    v.field("sandwich_norm", sandwich_norm, "norms behind attention and feed-forward as well");
    v.field("hidden_act", hidden_act, "silu");
  }
};

// The first release named some keys otherwise than DeepSeek; the second (V1.1) does not.
Json with_current_names(const Json& given) {
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"attention_kv_lora_dim", "kv_lora_rank"},
      {"attention_q_lora_dim", "q_lora_rank"},
      {"attention_qk_dim", "qk_nope_head_dim"},
      {"attention_qk_rope_dim", "qk_rope_head_dim"},
      {"attention_v_dim", "v_head_dim"},
      {"num_routed_experts", "n_routed_experts"},
      {"num_shared_experts", "n_shared_experts"},
      {"num_dense_layers", "first_k_dense_replace"},
      {"num_mtp_layers", "num_nextn_predict_layers"},
  };
  Json out = given;
  for (const auto& [old, now] : kNames) {
    const auto it = out.find(old);
    if (it == out.end()) continue;
    const Json value = *it;
    if (out.contains(now) && out[now] != value) {
      fail_usage("config of {}: {} = {} and {} = {} contradict each other; leave one out", kName, old,
                 to_text(value), now, to_text(out[now]));
    }
    out.erase(old);
    out[now] = value;
  }
  return out;
}

void check(const PanguUltraMoeConfig& c, const Json& given) {
  check_deepseek_like(c, kName);
  if (c.attention_bias) fail("config of {}: attention_bias = true is not supported; expected false", kName);
  const bool scaled =
      c.rope_parameters && !c.rope_parameters->kind().empty() && c.rope_parameters->kind() != "default";
  if (scaled || !given.value("rope_scaling", Json()).is_null()) {
    fail("config of {}: scaled rotary frequencies are not supported; expected rope_scaling = null", kName);
  }
}

std::unique_ptr<Model> create(const Json& json) {
  const Json given = with_current_names(json);
  PanguUltraMoeConfig c;
  c.n_group = c.topk_group = 1;
  c.topk_method = "greedy";
  c.rms_norm_eps = 1e-5;
  c.rope_theta = 25.6e6;
  read_config(c, given);
  check(c, given);
  const Json fields = write_fields(c);
  if (c.num_experts_per_tok == 1) c.norm_topk_prob = false;  // the one weight would always be 1
  return build_deepseek_like(given, fields, c,
                             {.model_type = kName,
                              .hf_class = "PanguUltraMoEForCausalLM",
                              .latent_eps = c.rms_norm_eps,
                              .sandwich_norm = c.sandwich_norm});
}

}  // namespace

extern const Architecture kPanguUltraMoe{kName, "PanguUltraMoEForCausalLM", create};

}  // namespace frugal
