#include "models/deepseek_like.h"

#include <nlohmann/json.hpp>

namespace frugal {

void DeepseekConfig::visit(FieldVisitor& v) {
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
  v.field("n_group", n_group, "groups of experts");
  v.field("topk_group", topk_group, "groups a token may choose from");
  v.field("first_k_dense_replace", first_k_dense_replace, "first blocks with a dense feed-forward");
  v.field("moe_layer_freq", moe_layer_freq, "1");
  v.field("routed_scaling_factor", routed_scaling_factor, "multiplies routing weights");
  v.field("norm_topk_prob", norm_topk_prob, "routing weights sum to one before scaling");
  v.field("scoring_func", scoring_func, "sigmoid or softmax");
  v.field("topk_method", topk_method, "noaux_tc, group_limited_greedy or greedy");
  v.field("kv_lora_rank", kv_lora_rank, "width of the cached latent");
  v.field("q_lora_rank", q_lora_rank, "width of the query latent; null for none");
  v.field("qk_rope_head_dim", qk_rope_head_dim, "rotated part of a head");
  v.field("qk_nope_head_dim", qk_nope_head_dim, "unrotated part of a head");
  v.field("v_head_dim", v_head_dim, "width of a value head");
  v.field("max_position_embeddings", max_position_embeddings, "longest context");
  v.field("rms_norm_eps", rms_norm_eps, "epsilon of the norms");
  v.field("rope_theta", rope_theta, "base of the rotary frequencies");
  v.field("rope_scaling", rope_scaling, "context extension");
  v.field("rope_parameters", rope_parameters, "the newer name of rope_scaling, rope_theta inside");
  v.field("rope_interleave", rope_interleave, "rotated pairs are adjacent");
  v.field("initializer_range", initializer_range, "standard deviation of initial weights");
  v.field("tie_word_embeddings", tie_word_embeddings, "the head is the embedding");
  v.field("attention_bias", attention_bias, "biases in attention");
  v.field("hidden_act", hidden_act, "silu");
}

namespace {

void check_router(const DeepseekConfig& c, const char* name) {
  require_at_least(name, "n_routed_experts", c.n_routed_experts, 1);
  require_at_least(name, "n_shared_experts", c.n_shared_experts, 0);
  require_at_least(name, "moe_intermediate_size", c.moe_intermediate_size, 1);
  require_at_least(name, "num_experts_per_tok", c.num_experts_per_tok, 1);
  require_at_most(name, "num_experts_per_tok", c.num_experts_per_tok, "n_routed_experts", c.n_routed_experts);
  require_divides(name, "n_group", c.n_group, "n_routed_experts", c.n_routed_experts);
  require_at_least(name, "topk_group", c.topk_group, 1);
  require_at_most(name, "topk_group", c.topk_group, "n_group", c.n_group);
  require_at_most(name, "num_experts_per_tok", c.num_experts_per_tok, "experts in the chosen groups",
                  c.n_routed_experts / c.n_group * c.topk_group);
  if (c.scoring_func != "sigmoid") require_equal(name, "scoring_func", c.scoring_func, "softmax");
  if (c.topk_method != "noaux_tc" && c.topk_method != "greedy") {
    require_equal(name, "topk_method", c.topk_method, "group_limited_greedy");
  }
  if (c.moe_layer_freq != 1)
    fail("config of {}: moe_layer_freq = {} is not supported; expected 1", name, c.moe_layer_freq);
}

}  // namespace

void check_deepseek_like(const DeepseekConfig& c, const char* name) {
  require_at_least(name, "vocab_size", c.vocab_size, 1);
  require_at_least(name, "hidden_size", c.hidden_size, 1);
  require_at_least(name, "num_hidden_layers", c.num_hidden_layers, 1);
  require_at_least(name, "num_nextn_predict_layers", c.num_nextn_predict_layers, 0);
  require_at_least(name, "num_attention_heads", c.num_attention_heads, 1);
  require_at_least(name, "kv_lora_rank", c.kv_lora_rank, 1);
  require_at_least(name, "q_lora_rank", c.q_lora_rank.value_or(0), 0);
  require_at_least(name, "qk_nope_head_dim", c.qk_nope_head_dim, 1);
  require_at_least(name, "v_head_dim", c.v_head_dim, 1);
  require_at_least(name, "max_position_embeddings", c.max_position_embeddings, 1);
  require_at_least(name, "first_k_dense_replace", c.first_k_dense_replace, 0);
  if (c.first_k_dense_replace > 0) require_at_least(name, "intermediate_size", c.intermediate_size, 1);
  require_equal(name, "hidden_act", c.hidden_act, "silu");
  if (c.has_moe()) check_router(c, name);
}

namespace {

ops::RouterOptions router_options(const DeepseekConfig& c, int layer) {
  const bool grouped = c.topk_method != "greedy";
  return {.experts = c.n_routed_experts,
          .top_k = c.num_experts_per_tok,
          .groups = grouped ? c.n_group : 1,
          .top_groups = grouped ? c.topk_group : 1,
          .score = c.scoring_func == "sigmoid" ? ops::RouterScore::sigmoid : ops::RouterScore::softmax,
          .group_score = c.topk_method == "noaux_tc" ? ops::GroupScore::top2_sum : ops::GroupScore::max,
          .normalise = c.norm_topk_prob,
          .scale = static_cast<float>(c.routed_scaling_factor),
          .layer = layer};
}

Block make_block(const DeepseekConfig& c, const DeepseekLikeFamily& family,
                 const std::shared_ptr<RopeTable>& rope, int64_t layer) {
  const bool mtp = layer >= c.num_hidden_layers;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  Block block;
  block.input_norm = Norm(c.hidden_size, eps, mtp);
  block.post_attention_norm = Norm(c.hidden_size, eps, mtp);
  if (family.sandwich_norm) {
    block.names.post_attention_norm = ".pre_mlp_layernorm";
    block.attention_output_norm = Norm(c.hidden_size, eps, mtp);
    block.ffn_output_norm = Norm(c.hidden_size, eps, mtp);
  }
  block.attention = std::make_unique<MlaAttention>(
      MlaConfig{.hidden = c.hidden_size,
                .heads = c.num_attention_heads,
                .q_rank = c.q_lora_rank.value_or(0),
                .kv_rank = c.kv_lora_rank,
                .nope = c.qk_nope_head_dim,
                .rope = c.qk_rope_head_dim,
                .v = c.v_head_dim,
                .eps = static_cast<float>(family.latent_eps),
                .softmax_factor = yarn_softmax_factor(c.scaling()),
                .pairing = c.rope_interleave ? ops::RopePairing::interleaved : ops::RopePairing::halves,
                .bias = c.attention_bias,
                .mtp = mtp},
      rope);
  if (layer < c.first_k_dense_replace) {
    block.ffn =
        std::make_unique<DenseFfn>(c.hidden_size, c.intermediate_size, ParameterInfo{Role::matrix, 1, mtp});
  } else {
    block.ffn =
        std::make_unique<MoeFfn>(MoeConfig{.hidden = c.hidden_size,
                                           .inner = c.moe_intermediate_size,
                                           .shared_inner = c.n_shared_experts * c.moe_intermediate_size,
                                           .router = router_options(c, static_cast<int>(layer)),
                                           .has_bias = c.topk_method == "noaux_tc",
                                           .mtp = mtp});
  }
  return block;
}

}  // namespace

std::unique_ptr<Model> build_deepseek_like(const Json& given, Json fields, const DeepseekConfig& c,
                                           const DeepseekLikeFamily& family) {
  const double theta = c.scaling() ? c.scaling()->rope_theta.value_or(c.rope_theta) : c.rope_theta;
  const auto rope = std::make_shared<RopeTable>(
      rope_frequencies(c.qk_rope_head_dim, theta, c.scaling(), c.max_position_embeddings));
  const auto eps = static_cast<float>(c.rms_norm_eps);
  std::vector<Block> blocks;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) blocks.push_back(make_block(c, family, rope, i));
  std::vector<MtpModule> mtp;
  for (int64_t k = 0; k < c.num_nextn_predict_layers; ++k) {
    MtpModule module;
    module.enorm = Norm(c.hidden_size, eps, true);
    module.hnorm = Norm(c.hidden_size, eps, true);
    module.norm = Norm(c.hidden_size, eps, true);
    module.eh_proj = Linear(2 * c.hidden_size, c.hidden_size, false, {Role::matrix, 1, true});
    module.block = make_block(c, family, rope, c.num_hidden_layers + k);
    mtp.push_back(std::move(module));
  }
  const DecoderConfig decoder{.vocab = c.vocab_size,
                              .hidden = c.hidden_size,
                              .max_positions = c.max_position_embeddings,
                              .eps = eps,
                              .tied = c.tie_word_embeddings,
                              .init_std = c.initializer_range,
                              .bos = token_id(given, "bos_token_id"),
                              .eos = token_id(given, "eos_token_id"),
                              .spare_mtp = true};
  fields["num_key_value_heads"] = c.num_attention_heads;  // transformers would assume V3's own
  if (!c.q_lora_rank) fields["q_lora_rank"] = nullptr;
  return std::make_unique<Decoder>(decoder,
                                   completed_config(given, fields, family.hf_class, family.model_type),
                                   std::move(blocks), std::move(mtp));
}

}  // namespace frugal
