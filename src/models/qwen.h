// What the four Qwen architectures share beyond Llama's config.
#pragma once

#include "models/llama_like.h"

namespace frugal {

struct QwenConfig : LlamaLikeConfig {
  WindowConfig windows;
  bool attention_bias = false;  // Qwen3; Qwen2 always has biases on q, k and v
  void visit(FieldVisitor& v) {
    LlamaLikeConfig::visit(v);
    windows.visit(v);
  }
};

// The mixture-of-experts part of Qwen2-MoE and Qwen3-MoE.
struct QwenMoeConfig : QwenConfig {
  int64_t num_experts = 0, num_experts_per_tok = 0, moe_intermediate_size = 0, decoder_sparse_step = 1;
  bool norm_topk_prob = false;
  std::vector<int64_t> mlp_only_layers;
  void visit(FieldVisitor& v);
  // Every layer is sparse but those listed, and those between the sparse steps.
  bool sparse(int64_t layer) const;
  MoeConfig moe(int64_t layer) const;
};
void check_qwen_moe(const QwenMoeConfig& config, const char* model_type);

}  // namespace frugal
