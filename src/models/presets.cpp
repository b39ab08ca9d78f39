// Ready-made shapes, as HF's config.json would give them: ours from nano up, their dense twins (same width
// and depth, the baseline every saving is measured against), the two bench models, and published ones.
#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "models/model.h"

namespace frugal {
namespace {

constexpr std::array kPresets = {
    Preset{"nano", "1 M class, V3 architecture: the quickstart's", R"({"model_type": "deepseek_v3",
      "vocab_size": 1024, "hidden_size": 128, "intermediate_size": 352, "moe_intermediate_size": 96,
      "num_hidden_layers": 4, "num_attention_heads": 4, "n_shared_experts": 1, "n_routed_experts": 8,
      "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 64,
      "q_lora_rank": null, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32,
      "routed_scaling_factor": 1.0, "max_position_embeddings": 1024, "tie_word_embeddings": true})"},
    Preset{"micro", "a few M, V3 architecture: a text of some MB in minutes", R"({"model_type": "deepseek_v3",
      "vocab_size": 4096, "hidden_size": 192, "intermediate_size": 512, "moe_intermediate_size": 128,
      "num_hidden_layers": 5, "num_attention_heads": 4, "n_shared_experts": 1, "n_routed_experts": 16,
      "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "kv_lora_rank": 96,
      "q_lora_rank": null, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 48,
      "routed_scaling_factor": 1.0, "max_position_embeddings": 1024, "tie_word_embeddings": true})"},
    Preset{"small", "20 M class, V3 architecture", R"({"model_type": "deepseek_v3",
      "vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024, "moe_intermediate_size": 256,
      "num_hidden_layers": 8, "num_attention_heads": 6, "n_shared_experts": 1, "n_routed_experts": 16,
      "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "kv_lora_rank": 128,
      "q_lora_rank": 192, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64, "v_head_dim": 64,
      "routed_scaling_factor": 1.0, "max_position_embeddings": 2048, "tie_word_embeddings": true})"},
    Preset{"base", "300 M class, V3 architecture", R"({"model_type": "deepseek_v3",
      "vocab_size": 32768, "hidden_size": 768, "intermediate_size": 2048, "moe_intermediate_size": 512,
      "num_hidden_layers": 12, "num_attention_heads": 12, "n_shared_experts": 1, "n_routed_experts": 32,
      "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "kv_lora_rank": 256,
      "q_lora_rank": 384, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64, "v_head_dim": 64,
      "routed_scaling_factor": 2.5, "max_position_embeddings": 4096, "tie_word_embeddings": true})"},
    Preset{"dense-nano", "nano's dense twin",
           R"({"model_type": "llama", "vocab_size": 1024, "hidden_size": 128,
      "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
      "max_position_embeddings": 1024, "tie_word_embeddings": true})"},
    Preset{"dense-micro", "micro's dense twin",
           R"({"model_type": "llama", "vocab_size": 4096, "hidden_size": 192,
      "intermediate_size": 512, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 4,
      "max_position_embeddings": 1024, "tie_word_embeddings": true})"},
    Preset{"dense-small", "small's dense twin",
           R"({"model_type": "llama", "vocab_size": 8192, "hidden_size": 384,
      "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 6, "num_key_value_heads": 6,
      "max_position_embeddings": 2048, "tie_word_embeddings": true})"},
    Preset{"bench-dense", "the dense model of the training benchmark",
           R"({"model_type": "llama", "vocab_size": 4096,
      "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6,
      "num_key_value_heads": 2, "max_position_embeddings": 1024, "tie_word_embeddings": true})"},
    Preset{"bench-v3", "the V3 model of the training benchmark",
           R"({"model_type": "deepseek_v3", "vocab_size": 4096,
      "hidden_size": 384, "intermediate_size": 1024, "moe_intermediate_size": 256, "num_hidden_layers": 6,
      "num_attention_heads": 6, "n_shared_experts": 1, "n_routed_experts": 16, "num_experts_per_tok": 4,
      "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "kv_lora_rank": 128, "q_lora_rank": 192,
      "qk_rope_head_dim": 32, "qk_nope_head_dim": 64, "v_head_dim": 64, "max_position_embeddings": 1024,
      "tie_word_embeddings": true})"},
    Preset{"v2-lite", "DeepSeek-V2-Lite, 15.7 B", R"({"model_type": "deepseek_v2", "vocab_size": 102400,
      "hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 27,
      "num_attention_heads": 16, "n_shared_experts": 2, "n_routed_experts": 64, "num_experts_per_tok": 6,
      "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 512, "q_lora_rank": null,
      "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "topk_method": "greedy",
      "max_position_embeddings": 163840, "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32,
      "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096}})"},
    Preset{"v2-236b", "DeepSeek-V2, 236 B", R"({"model_type": "deepseek_v2", "vocab_size": 102400,
      "hidden_size": 5120, "intermediate_size": 12288, "moe_intermediate_size": 1536, "num_hidden_layers": 60,
      "num_attention_heads": 128, "n_shared_experts": 2, "n_routed_experts": 160, "num_experts_per_tok": 6,
      "n_group": 8, "topk_group": 3, "first_k_dense_replace": 1, "kv_lora_rank": 512, "q_lora_rank": 1536,
      "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "topk_method": "group_limited_greedy",
      "routed_scaling_factor": 16.0, "max_position_embeddings": 163840, "rope_scaling": {"type": "yarn", "factor": 40,
      "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707,
      "original_max_position_embeddings": 4096}})"},
    Preset{"v3-671b", "DeepSeek-V3 and R1, 671 B", R"({"model_type": "deepseek_v3", "vocab_size": 129280,
      "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
      "num_nextn_predict_layers": 1, "num_attention_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256,
      "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "first_k_dense_replace": 3, "kv_lora_rank": 512,
      "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
      "max_position_embeddings": 163840, "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32,
      "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096}})"},
    Preset{"gpt2-124m", "GPT-2, 124 M", R"({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024,
      "n_embd": 768, "n_layer": 12, "n_head": 12})"},
    Preset{"pangu-embedded-1b", "openPangu Embedded 1B",
           R"({"model_type": "PanguEmbedded", "vocab_size": 153376,
      "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 26, "num_attention_heads": 12,
      "num_key_value_heads": 6, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 4000000.0,
      "bias": true, "tie_word_embeddings": true})"},
    Preset{"pangu-embedded-7b", "openPangu Embedded 7B",
           R"({"model_type": "PanguEmbedded", "vocab_size": 153376,
      "hidden_size": 4096, "intermediate_size": 12800, "num_hidden_layers": 34, "num_attention_heads": 32,
      "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 16000000.0,
      "bias": true, "tie_word_embeddings": false})"},
    Preset{"pangu-pro-moe-72b", "Pangu Pro MoE, 72 B", R"({"model_type": "PanguProMoE", "vocab_size": 153376,
      "hidden_size": 5120, "moe_intermediate_size": 1344, "shared_expert_intermediate_size": 5376,
      "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "num_experts": 64,
      "num_experts_per_tok": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
      "rope_theta": 16000000.0, "tie_word_embeddings": false})"},
    Preset{"pangu-ultra-moe-718b", "openPangu-Ultra-MoE, 718 B", R"({"model_type": "pangu_ultra_moe",
      "vocab_size": 153600, "hidden_size": 7680, "intermediate_size": 18432, "moe_intermediate_size": 2048,
      "num_hidden_layers": 61, "num_nextn_predict_layers": 1, "num_attention_heads": 128, "n_shared_experts": 1,
      "n_routed_experts": 256, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "kv_lora_rank": 512,
      "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
      "routed_scaling_factor": 2.5, "norm_topk_prob": true, "sandwich_norm": true, "max_position_embeddings": 131072,
      "rms_norm_eps": 1e-5, "rope_theta": 25600000.0, "tie_word_embeddings": false})"},
    Preset{"gpt-oss-20b", "gpt-oss-20b, 20.9 B", R"({"model_type": "gpt_oss", "num_hidden_layers": 24,
      "num_local_experts": 32})"},
    Preset{"gpt-oss-120b", "gpt-oss-120b, 116.8 B", R"({"model_type": "gpt_oss", "num_hidden_layers": 36,
      "num_local_experts": 128})"},
};

}  // namespace

std::span<const Preset> all_presets() {
  return kPresets;
}

Json preset_config(std::string_view name) {
  std::string known;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return parse_json(preset.config, preset.name);
    known += (known.empty() ? "" : ", ") + std::string(preset.name);
  }
  fail_usage("unknown preset '{}'; known: {}", name, known);
}

}  // namespace frugal
