// What DeepSeek-V2, V3 and openPangu-Ultra-MoE share: latent attention, experts beside shared ones,
// multi-token prediction. A family's file says its defaults, its router and its norms.
#pragma once

#include <optional>
#include <string>

#include "models/config.h"
#include "models/decoder.h"

namespace frugal {

struct DeepseekConfig {
  int64_t vocab_size = 129280, hidden_size = 7168, intermediate_size = 18432, moe_intermediate_size = 2048;
  int64_t num_hidden_layers = 61, num_nextn_predict_layers = 0, num_attention_heads = 128;
  int64_t n_shared_experts = 1, n_routed_experts = 256, num_experts_per_tok = 8;
  int64_t n_group = 8, topk_group = 4, first_k_dense_replace = 3, moe_layer_freq = 1;
  double routed_scaling_factor = 2.5;
  bool norm_topk_prob = true;
  std::string scoring_func = "sigmoid", topk_method = "noaux_tc";
  int64_t kv_lora_rank = 512;
  std::optional<int64_t> q_lora_rank;
  int64_t qk_rope_head_dim = 64, qk_nope_head_dim = 128, v_head_dim = 128;
  int64_t max_position_embeddings = 4096;
  double rms_norm_eps = 1e-6, rope_theta = 10000, initializer_range = 0.02;
  std::optional<RopeScaling> rope_scaling, rope_parameters;
  bool rope_interleave = true, tie_word_embeddings = false, attention_bias = false;
  std::string hidden_act = "silu";

  void visit(FieldVisitor& v);

  bool has_moe() const { return first_k_dense_replace < num_hidden_layers + (num_nextn_predict_layers > 0); }
  const std::optional<RopeScaling>& scaling() const {
    return rope_parameters ? rope_parameters : rope_scaling;
  }
};

struct DeepseekLikeFamily {
  const char* model_type;
  const char* hf_class;
  double latent_eps = 1e-6;  // of the norms of the latents
  // A norm behind attention and one behind the feed-forward, each before the residual sum.
  bool sandwich_norm = false;
};

// UsageError on impossible dimensions.
void check_deepseek_like(const DeepseekConfig& config, const char* model_type);
// `fields`: every field the family knows, for the config.json of a saved model.
std::unique_ptr<Model> build_deepseek_like(const Json& given, Json fields, const DeepseekConfig& config,
                                           const DeepseekLikeFamily& family);

}  // namespace frugal
