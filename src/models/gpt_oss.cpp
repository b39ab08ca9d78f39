// gpt-oss (OpenAI 2025, arXiv 2508.10925; reference gpt_oss/torch/model.py): grouped-query attention with
// biases and a learned sink per head, a sliding window in every other layer, and experts of clamped SwiGLU
// with biases. A router's weights are the softmax of the chosen logits, which is the softmax of all of them
// renormalised over the chosen.
#include <nlohmann/json.hpp>

#include "models/gguf_family.h"
#include "models/hf_stack.h"
#include "models/llama_like.h"

namespace frugal {
namespace {

struct GptOssConfig : LlamaLikeConfig {
  WindowConfig windows;
  int64_t num_local_experts = 128, num_experts_per_tok = 4;
  double swiglu_limit = 7, swiglu_alpha = 1.702;
  bool attention_bias = true;
  void visit(FieldVisitor& v) {
    LlamaLikeConfig::visit(v);
    windows.visit(v);
    v.field("num_local_experts", num_local_experts, "experts to choose from");
    v.field("num_experts_per_tok", num_experts_per_tok, "experts chosen per token");
    v.field("swiglu_limit", swiglu_limit, "largest gate and largest magnitude of up");
    v.field("swiglu_alpha", swiglu_alpha, "slope of the gate's sigmoid");
    v.field("attention_bias", attention_bias, "biases in attention");
  }
};

// What transformers assumes where a config is silent (configuration_gpt_oss.py).
GptOssConfig defaults() {
  GptOssConfig c;
  c.vocab_size = 201088;
  c.hidden_size = c.intermediate_size = 2880;
  c.num_hidden_layers = 36;
  c.num_attention_heads = 64;
  c.num_key_value_heads = 8;
  c.head_dim = 64;
  c.max_position_embeddings = 131072;
  c.rms_norm_eps = 1e-5;
  c.rope_theta = 150000;
  c.windows.sliding_window = 128;
  return c;
}

void supply_defaults(GptOssConfig& c) {
  if (!c.rope_scaling && !c.rope_parameters) {
    c.rope_scaling.emplace();
    c.rope_scaling->rope_type = "yarn";
    c.rope_scaling->factor = 32;
    c.rope_scaling->truncate = false;
    c.rope_scaling->original_max_position_embeddings = 4096;
  }
  if (!c.windows.layer_types) {
    c.windows.layer_types.emplace();
    for (int64_t i = 0; i < c.num_hidden_layers; ++i)
      c.windows.layer_types->emplace_back(i % 2 == 0 ? "sliding_attention" : "full_attention");
  }
}

void check(const GptOssConfig& c, const char* name) {
  check_llama_like(c, name);
  require_at_least(name, "num_local_experts", c.num_local_experts, 1);
  require_at_least(name, "num_experts_per_tok", c.num_experts_per_tok, 1);
  require_at_most(name, "num_experts_per_tok", c.num_experts_per_tok, "num_local_experts",
                  c.num_local_experts);
  if (!(c.swiglu_limit > 0) || !(c.swiglu_alpha > 0)) {
    fail_usage("config of {}: swiglu_limit = {} and swiglu_alpha = {}; expected positive numbers", name,
               c.swiglu_limit, c.swiglu_alpha);
  }
}

std::unique_ptr<Model> create(const Json& json) {
  constexpr const char* kName = "gpt_oss";
  GptOssConfig c = defaults();
  read_config(c, json);
  supply_defaults(c);
  check(c, kName);
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
                  .biases = true,
                  .form = {static_cast<float>(c.swiglu_limit), static_cast<float>(c.swiglu_alpha)},
                  .names = {.router = ".router"}});
  };
  Json given = json;  // null stands for what was supplied, which other files have to be told
  for (const char* key : {"rope_scaling", "layer_types"}) {
    if (given.contains(key) && given[key].is_null()) given.erase(key);
  }
  return build_llama_like(given, write_fields(c), c,
                          {.model_type = kName,
                           .hf_class = "GptOssForCausalLM",
                           .qkv_bias = c.attention_bias,
                           .output_bias = c.attention_bias,
                           .sinks = true,
                           .window = [c](int64_t layer) { return c.windows.window(layer, true); },
                           .ffn = ffn});
}

constexpr HfStack kStacks[] = {
    {"model.layers.{}.mlp.experts.{}.gate_proj.weight", "model.layers.{}.mlp.experts.gate_up_proj", 0, 2},
    {"model.layers.{}.mlp.experts.{}.up_proj.weight", "model.layers.{}.mlp.experts.gate_up_proj", 1, 2},
    {"model.layers.{}.mlp.experts.{}.down_proj.weight", "model.layers.{}.mlp.experts.down_proj"},
    {"model.layers.{}.mlp.experts.{}.gate_proj.bias", "model.layers.{}.mlp.experts.gate_up_proj_bias", 0, 2},
    {"model.layers.{}.mlp.experts.{}.up_proj.bias", "model.layers.{}.mlp.experts.gate_up_proj_bias", 1, 2},
    {"model.layers.{}.mlp.experts.{}.down_proj.bias", "model.layers.{}.mlp.experts.down_proj_bias"},
};

}  // namespace

extern const Architecture kGptOss{"gpt_oss", "GptOssForCausalLM", create, &kGptOssGguf, kStacks};

}  // namespace frugal
