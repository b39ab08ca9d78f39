// DeepSeek-V2 and V3 in GGUF's architecture "deepseek2". Files of before April 2025 hold kv_b as one tensor
// and head sizes under key_length; newer ones hold its halves for the absorbed form of attention (k_b
// transposed), head sizes under key_length_mla, and describe attention over the latent (one key head).
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/gguf_family.h"

namespace frugal {
namespace {

using Kind = GgufKey::Kind;
using enum GgufLayout;

constexpr int kSoftmax = 1, kSigmoid = 2;  // expert_gating_func

constexpr GgufKey kKeys[] = {
    {"vocab_size", "vocab_size"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", Kind::number},
    {"attention.q_lora_rank", "q_lora_rank", Kind::integer, false},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"rope.dimension_count", "qk_rope_head_dim"},
    {"leading_dense_block_count", "first_k_dense_replace", Kind::integer, false},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_count", "n_routed_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_shared_count", "n_shared_experts", Kind::integer, false},
    {"expert_weights_scale", "routed_scaling_factor", Kind::number, false},
    {"expert_weights_norm", "norm_topk_prob", Kind::flag, false},
    {"expert_group_count", "n_group", Kind::integer, false},
    {"expert_group_used_count", "topk_group", Kind::integer, false},
};

std::vector<GgufName> names() {
  return {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"},
      {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
      {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
      {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
      {"model.layers.{}.self_attn.q_a_proj.weight", "blk.{}.attn_q_a.weight"},
      {"model.layers.{}.self_attn.q_a_layernorm.weight", "blk.{}.attn_q_a_norm.weight"},
      {"model.layers.{}.self_attn.q_b_proj.weight", "blk.{}.attn_q_b.weight"},
      {"model.layers.{}.self_attn.kv_a_proj_with_mqa.weight", "blk.{}.attn_kv_a_mqa.weight"},
      {"model.layers.{}.self_attn.kv_a_layernorm.weight", "blk.{}.attn_kv_a_norm.weight"},
      {"model.layers.{}.self_attn.kv_b_proj.weight", "blk.{}.attn_kv_b.weight", split_kv},
      {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
      {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
      {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
      {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
      {"model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight"},
      {"model.layers.{}.mlp.gate.e_score_correction_bias", "blk.{}.exp_probs_b.bias"},
      {"model.layers.{}.mlp.experts.{}.gate_proj.weight", "blk.{}.ffn_gate_exps.weight"},
      {"model.layers.{}.mlp.experts.{}.up_proj.weight", "blk.{}.ffn_up_exps.weight"},
      {"model.layers.{}.mlp.experts.{}.down_proj.weight", "blk.{}.ffn_down_exps.weight"},
      {"model.layers.{}.mlp.shared_experts.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight"},
      {"model.layers.{}.mlp.shared_experts.up_proj.weight", "blk.{}.ffn_up_shexp.weight"},
      {"model.layers.{}.mlp.shared_experts.down_proj.weight", "blk.{}.ffn_down_shexp.weight"},
      {"model.layers.{}.enorm.weight", "blk.{}.nextn.enorm.weight"},
      {"model.layers.{}.hnorm.weight", "blk.{}.nextn.hnorm.weight"},
      {"model.layers.{}.eh_proj.weight", "blk.{}.nextn.eh_proj.weight"},
      {"model.layers.{}.shared_head.norm.weight", "blk.{}.nextn.shared_head_norm.weight"},
  };
}

int64_t integer(const GgufFacts& facts, const char* key, int64_t otherwise) {
  Json found = Json::object();
  const GgufKey table[] = {{key, "value", Kind::integer, false}};
  read_gguf_keys(facts, table, found);
  return found.value("value", otherwise);
}

// Published models whose files of 2024 do not say their groups of experts: {experts, groups, of them used}.
void supply_groups(Json& config) {
  if (config.contains("n_group") && config.contains("topk_group")) return;
  config["n_group"] = config["topk_group"] = 1;
  const int64_t layers = config["num_hidden_layers"].get<int64_t>(),
                experts = config["n_routed_experts"].get<int64_t>();
  if (layers == 61 && experts == 256) config["n_group"] = 8, config["topk_group"] = 4;  // V3, R1
  if (layers == 60 && experts == 160) config["n_group"] = 8, config["topk_group"] = 3;  // V2, V2.5
}

bool scores_by_sigmoid(const GgufFacts& facts) {
  const int64_t function = integer(facts, "expert_gating_func", kSoftmax);
  if (function != kSoftmax && function != kSigmoid) {
    fail("{}: expert_gating_func = {}; supported: 1 (softmax), 2 (sigmoid)", facts.where, function);
  }
  return function == kSigmoid;
}

bool has_balancing_bias(const GgufFacts& facts) {
  for (const auto& [name, shape] : facts.tensors) {
    if (name.starts_with("blk.") && name.ends_with(".exp_probs_b.bias")) return true;
  }
  return false;
}

bool is_v3(const GgufFacts& facts) {
  return scores_by_sigmoid(facts) || has_balancing_bias(facts);
}

Json read(const GgufFacts& facts, const char* model_type) {
  Json config = {{"model_type", model_type}};
  config["q_lora_rank"] = nullptr;
  config["first_k_dense_replace"] = 0;
  config["n_shared_experts"] = 0;
  config["routed_scaling_factor"] = 1.0;
  config["norm_topk_prob"] = false;
  read_gguf_keys(facts, kKeys, config);
  if (config["q_lora_rank"] == 0) config["q_lora_rank"] = nullptr;
  const int64_t blocks = integer(facts, "block_count", 0), mtp = integer(facts, "nextn_predict_layers", 0);
  if (mtp < 0 || blocks <= mtp) fail("{}: block_count = {}, {} of them extra", facts.where, blocks, mtp);
  config["num_hidden_layers"] = blocks - mtp;
  // Some files keep the count and drop the modules.
  const bool kept = facts.has(with_layer("blk.{}.nextn.eh_proj.weight", blocks - mtp));
  config["num_nextn_predict_layers"] = kept ? mtp : 0;
  const int64_t rope = config["qk_rope_head_dim"].get<int64_t>();
  const int64_t key = integer(facts, "attention.key_length_mla", integer(facts, "attention.key_length", 0));
  const int64_t value =
      integer(facts, "attention.value_length_mla", integer(facts, "attention.value_length", 0));
  if (rope < 1 || key <= rope || value < 1) {
    fail("{}: heads of {} key and {} value numbers, {} of them rotated, make no sense", facts.where, key,
         value, rope);
  }
  config["qk_nope_head_dim"] = key - rope;
  config["v_head_dim"] = value;
  config["num_key_value_heads"] = config["num_attention_heads"];
  supply_groups(config);
  config["scoring_func"] = scores_by_sigmoid(facts) ? "sigmoid" : "softmax";
  config["topk_method"] = has_balancing_bias(facts) ? "noaux_tc"
                          : config["n_group"] != 1  ? "group_limited_greedy"
                                                    : "greedy";
  read_gguf_rope(facts, rope, config);
  Json found = Json::object();
  static constexpr GgufKey kLog[] = {{"rope.scaling.yarn_log_multiplier", "value", Kind::number, false}};
  read_gguf_keys(facts, kLog, found);
  if (found.contains("value") && config.contains("rope_scaling")) {
    // Written as a tenth of mscale_all_dim; all published models have mscale equal to it.
    const double m = std::round(found["value"].get<double>() * 1e7) / 1e6;
    config["rope_scaling"]["mscale"] = config["rope_scaling"]["mscale_all_dim"] = m;
  }
  config["tie_word_embeddings"] = !facts.has("output.weight");
  return config;
}

Json read_v2(const GgufFacts& facts) {
  return read(facts, "deepseek_v2");
}
Json read_v3(const GgufFacts& facts) {
  return read(facts, "deepseek_v3");
}

void write_attention(const Json& config, Json& metadata) {
  const int64_t rank = config.at("kv_lora_rank").get<int64_t>(),
                rope = config.at("qk_rope_head_dim").get<int64_t>();
  if (!metadata.contains("attention.q_lora_rank"))
    metadata["attention.q_lora_rank"] = 0;  // llama.cpp insists
  metadata["attention.head_count_kv"] = 1;
  metadata["attention.key_length"] = rank + rope;
  metadata["attention.value_length"] = rank;
  metadata["attention.key_length_mla"] = config.at("qk_nope_head_dim").get<int64_t>() + rope;
  metadata["attention.value_length_mla"] = config.at("v_head_dim");
}

GgufDescription describe(const Json& config) {
  if (!config.value("rope_interleave", true)) fail("config.json: GGUF cannot say rope_interleave = false");
  if (config.value("attention_bias", false)) fail("config.json: GGUF has no biases in latent attention");
  const Json scaling = rope_scaling_of(config);
  GgufDescription out;
  Json& metadata = out.metadata;
  metadata = Json::object();
  write_gguf_keys(config, kKeys, metadata);
  const int64_t mtp = config.value("num_nextn_predict_layers", int64_t{0});
  metadata["block_count"] = config.at("num_hidden_layers").get<int64_t>() + mtp;
  if (mtp > 0) metadata["nextn_predict_layers"] = mtp;
  write_attention(config, metadata);
  const std::string method = config.at("topk_method").get<std::string>();
  if (method == "greedy") metadata["expert_group_count"] = metadata["expert_group_used_count"] = 1;
  metadata["expert_gating_func"] = config.at("scoring_func") == "sigmoid" ? kSigmoid : kSoftmax;
  write_gguf_rope(config, config.at("qk_rope_head_dim").get<int64_t>(), out);
  if (scaling.is_object() && scaling.contains("mscale_all_dim") && !scaling["mscale_all_dim"].is_null()) {
    const double all = scaling["mscale_all_dim"].get<double>();
    const double own = scaling.contains("mscale") ? scaling["mscale"].get<double>() : 1;
    if (own != all) {
      fail("rope_scaling: GGUF cannot say mscale = {} beside mscale_all_dim = {}", own, all);
    }
    metadata["rope.scaling.yarn_log_multiplier"] = 0.1 * all;
  }
  return out;
}

GgufWidths widths(const Json& config) {
  return {.heads = config.at("num_attention_heads").get<int64_t>(),
          .nope = config.at("qk_nope_head_dim").get<int64_t>(),
          .value = config.at("v_head_dim").get<int64_t>()};
}

}  // namespace

extern const GgufFamily kDeepseekV3Gguf{"deepseek2", is_v3, names, read_v3, describe, widths};
extern const GgufFamily kDeepseekV2Gguf{"deepseek2", nullptr, names, read_v2, describe, widths};

}  // namespace frugal
