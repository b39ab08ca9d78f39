// Qwen2 and 2.5 (Yang et al. 2024), Qwen3 (2025) and their mixtures of experts. Qwen2 has biases on q, k and
// v; Qwen3 has none but an RMSNorm over every head of q and k. Routers are softmax, without groups or bias.
#include "models/qwen.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/gguf_family.h"

namespace frugal {

void QwenMoeConfig::visit(FieldVisitor& v) {
  QwenConfig::visit(v);
  v.field("num_experts", num_experts, "experts to choose from");
  v.field("num_experts_per_tok", num_experts_per_tok, "experts chosen per token");
  v.field("moe_intermediate_size", moe_intermediate_size, "width of one expert");
  v.field("norm_topk_prob", norm_topk_prob, "routing weights sum to one");
  v.field("decoder_sparse_step", decoder_sparse_step, "every how many layers there are experts");
  v.field("mlp_only_layers", mlp_only_layers, "layers without experts");
}

bool QwenMoeConfig::sparse(int64_t layer) const {
  if (std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) != mlp_only_layers.end()) return false;
  return num_experts > 0 && (layer + 1) % decoder_sparse_step == 0;
}

MoeConfig QwenMoeConfig::moe(int64_t layer) const {
  return {.hidden = hidden_size,
          .inner = moe_intermediate_size,
          .shared_inner = 0,
          .router = {.experts = num_experts,
                     .top_k = num_experts_per_tok,
                     .score = ops::RouterScore::softmax,
                     .normalise = norm_topk_prob,
                     .layer = static_cast<int>(layer)},
          .has_bias = false};
}

void check_qwen_moe(const QwenMoeConfig& c, const char* name) {
  check_llama_like(c, name);
  require_at_least(name, "num_experts", c.num_experts, 0);
  require_at_least(name, "decoder_sparse_step", c.decoder_sparse_step, 1);
  if (c.num_experts == 0) return;
  require_at_least(name, "moe_intermediate_size", c.moe_intermediate_size, 1);
  require_at_least(name, "num_experts_per_tok", c.num_experts_per_tok, 1);
  require_at_most(name, "num_experts_per_tok", c.num_experts_per_tok, "num_experts", c.num_experts);
}

namespace {

struct Qwen3Config : QwenConfig {
  void visit(FieldVisitor& v) {
    QwenConfig::visit(v);
    v.field("attention_bias", attention_bias, "biases in attention");
  }
};

struct Qwen2MoeConfig : QwenMoeConfig {
  int64_t shared_expert_intermediate_size = 5632;
  bool qkv_bias = true;
  void visit(FieldVisitor& v) {
    QwenMoeConfig::visit(v);
    v.field("shared_expert_intermediate_size", shared_expert_intermediate_size, "width of the shared expert");
    v.field("qkv_bias", qkv_bias, "biases on q, k and v");
  }
};

struct Qwen3MoeConfig : QwenMoeConfig {
  std::optional<int64_t> num_local_experts;
  void visit(FieldVisitor& v) {
    QwenMoeConfig::visit(v);
    v.field("num_local_experts", num_local_experts, "the name that newer transformers write for num_experts");
    v.field("attention_bias", attention_bias, "biases in attention");
  }
};

std::unique_ptr<FfnModule> dense(const LlamaLikeConfig& c) {
  return std::make_unique<DenseFfn>(c.hidden_size, c.intermediate_size);
}

std::function<int64_t(int64_t)> windows(const QwenConfig& c) {
  return [w = c.windows](int64_t layer) { return w.window(layer, false); };
}

std::unique_ptr<Model> create_qwen2(const Json& json) {
  QwenConfig c;
  read_config(c, json);
  check_llama_like(c, "qwen2");
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = "qwen2",
                           .hf_class = "Qwen2ForCausalLM",
                           .qkv_bias = true,
                           .window = windows(c),
                           .ffn = [c](int64_t) { return dense(c); }});
}

std::unique_ptr<Model> create_qwen3(const Json& json) {
  Qwen3Config c;
  c.head_dim = 128;
  read_config(c, json);
  check_llama_like(c, "qwen3");
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = "qwen3",
                           .hf_class = "Qwen3ForCausalLM",
                           .qkv_bias = c.attention_bias,
                           .output_bias = c.attention_bias,
                           .qk_norm = true,
                           .window = windows(c),
                           .ffn = [c](int64_t) { return dense(c); }});
}

std::unique_ptr<Model> create_qwen2_moe(const Json& json) {
  Qwen2MoeConfig c;
  c.num_experts = 60;
  c.num_experts_per_tok = 4;
  c.moe_intermediate_size = 1408;
  read_config(c, json);
  check_qwen_moe(c, "qwen2_moe");
  require_at_least("qwen2_moe", "shared_expert_intermediate_size", c.shared_expert_intermediate_size, 1);
  const auto ffn = [c](int64_t layer) -> std::unique_ptr<FfnModule> {
    if (!c.sparse(layer)) return dense(c);
    MoeConfig moe = c.moe(layer);
    moe.shared_inner = c.shared_expert_intermediate_size;
    moe.gated_shared = true;
    moe.shared_name = ".shared_expert";
    return std::make_unique<MoeFfn>(moe);
  };
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = "qwen2_moe",
                           .hf_class = "Qwen2MoeForCausalLM",
                           .qkv_bias = c.qkv_bias,
                           .window = windows(c),
                           .ffn = ffn});
}

std::unique_ptr<Model> create_qwen3_moe(const Json& json) {
  Qwen3MoeConfig c;
  c.num_experts = 128;
  c.num_experts_per_tok = 8;
  c.moe_intermediate_size = 768;
  read_config(c, json);
  c.num_experts = c.num_local_experts.value_or(c.num_experts);
  c.num_local_experts.reset();
  check_qwen_moe(c, "qwen3_moe");
  const auto ffn = [c](int64_t layer) -> std::unique_ptr<FfnModule> {
    if (!c.sparse(layer)) return dense(c);
    return std::make_unique<MoeFfn>(c.moe(layer));
  };
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = "qwen3_moe",
                           .hf_class = "Qwen3MoeForCausalLM",
                           .qkv_bias = c.attention_bias,
                           .output_bias = c.attention_bias,
                           .qk_norm = true,
                           .window = windows(c),
                           .ffn = ffn});
}

}  // namespace

extern const Architecture kQwen2{"qwen2", "Qwen2ForCausalLM", create_qwen2, &kQwen2Gguf};
extern const Architecture kQwen3{"qwen3", "Qwen3ForCausalLM", create_qwen3, &kQwen3Gguf};
extern const Architecture kQwen2Moe{"qwen2_moe", "Qwen2MoeForCausalLM", create_qwen2_moe, &kQwen2MoeGguf};
extern const Architecture kQwen3Moe{"qwen3_moe", "Qwen3MoeForCausalLM", create_qwen3_moe, &kQwen3MoeGguf};

}  // namespace frugal
