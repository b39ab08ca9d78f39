// Llama 2 and 3.x (Touvron et al. 2023; Grattafiori et al. 2024), SmolLM2 and everything else that says
// model_type "llama": grouped-query attention, SwiGLU, RMSNorm, rotary embedding in halves. The dense
// baseline of every saving.
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/decoder.h"

namespace frugal {
namespace {

struct LlamaConfig {
  int64_t vocab_size = 32000, hidden_size = 4096, intermediate_size = 11008;
  int64_t num_hidden_layers = 32, num_attention_heads = 32;
  std::optional<int64_t> num_key_value_heads, head_dim;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6, rope_theta = 10000, initializer_range = 0.02;
  std::optional<RopeScaling> rope_scaling, rope_parameters;
  bool tie_word_embeddings = false, attention_bias = false, mlp_bias = false;
  std::string hidden_act = "silu";

  void visit(FieldVisitor& v) {
    v.field("vocab_size", vocab_size, "tokens");
    v.field("hidden_size", hidden_size, "width of the residual stream");
    v.field("intermediate_size", intermediate_size, "width of the feed-forward");
    v.field("num_hidden_layers", num_hidden_layers, "blocks");
    v.field("num_attention_heads", num_attention_heads, "query heads");
    v.field("num_key_value_heads", num_key_value_heads,
            "key and value heads; default: as many as query heads");
    v.field("head_dim", head_dim, "width of a head; default hidden_size / heads");
    v.field("max_position_embeddings", max_position_embeddings, "longest context");
    v.field("rms_norm_eps", rms_norm_eps, "epsilon of the norms");
    v.field("rope_theta", rope_theta, "base of the rotary frequencies");
    v.field("rope_scaling", rope_scaling, "context extension");
    v.field("rope_parameters", rope_parameters, "the newer name of rope_scaling, rope_theta inside");
    v.field("initializer_range", initializer_range, "standard deviation of initial weights");
    v.field("tie_word_embeddings", tie_word_embeddings, "the head is the embedding");
    v.field("attention_bias", attention_bias, "biases in attention");
    v.field("mlp_bias", mlp_bias, "biases in the feed-forward");
    v.field("hidden_act", hidden_act, "silu");
  }
};

constexpr const char* kName = "llama";

void check(const LlamaConfig& c) {
  require_at_least(kName, "vocab_size", c.vocab_size, 1);
  require_at_least(kName, "hidden_size", c.hidden_size, 1);
  require_at_least(kName, "intermediate_size", c.intermediate_size, 1);
  require_at_least(kName, "num_hidden_layers", c.num_hidden_layers, 1);
  require_at_least(kName, "num_attention_heads", c.num_attention_heads, 1);
  require_at_least(kName, "max_position_embeddings", c.max_position_embeddings, 1);
  require_divides(kName, "num_key_value_heads", c.num_key_value_heads.value_or(c.num_attention_heads),
                  "num_attention_heads", c.num_attention_heads);
  if (!c.head_dim)
    require_divides(kName, "num_attention_heads", c.num_attention_heads, "hidden_size", c.hidden_size);
  require_equal(kName, "hidden_act", c.hidden_act, "silu");
}

std::unique_ptr<Model> create(const Json& json) {
  LlamaConfig c;
  read_fields(c, json, "config.json", UnknownKeys::ignore);
  check(c);
  const std::optional<RopeScaling>& scaling = c.rope_parameters ? c.rope_parameters : c.rope_scaling;
  const double theta = scaling ? scaling->rope_theta.value_or(c.rope_theta) : c.rope_theta;
  const int64_t head_dim = c.head_dim.value_or(c.hidden_size / c.num_attention_heads);
  const auto rope =
      std::make_shared<RopeTable>(rope_frequencies(head_dim, theta, scaling, c.max_position_embeddings));
  const GqaConfig attention{.hidden = c.hidden_size,
                            .heads = c.num_attention_heads,
                            .kv_heads = c.num_key_value_heads.value_or(c.num_attention_heads),
                            .head_dim = head_dim,
                            .qkv_bias = c.attention_bias,
                            .output_bias = c.attention_bias};
  const auto eps = static_cast<float>(c.rms_norm_eps);
  std::vector<Block> blocks;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    Block block;
    block.input_norm = RmsNorm(c.hidden_size, eps);
    block.post_attention_norm = RmsNorm(c.hidden_size, eps);
    block.attention = std::make_unique<GqaAttention>(attention, rope);
    block.ffn = std::make_unique<DenseFfn>(c.hidden_size, c.intermediate_size, ParameterInfo{}, c.mlp_bias);
    blocks.push_back(std::move(block));
  }
  const DecoderConfig decoder{.vocab = c.vocab_size,
                              .hidden = c.hidden_size,
                              .max_positions = c.max_position_embeddings,
                              .eps = eps,
                              .tied = c.tie_word_embeddings,
                              .init_std = c.initializer_range,
                              .bos = token_id(json, "bos_token_id"),
                              .eos = token_id(json, "eos_token_id")};
  return std::make_unique<Decoder>(
      decoder, completed_config(json, write_fields(c), "LlamaForCausalLM", kName), std::move(blocks));
}

}  // namespace

extern const Architecture kLlama{"llama", "LlamaForCausalLM", create};

}  // namespace frugal
