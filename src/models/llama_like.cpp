#include "models/llama_like.h"

#include <nlohmann/json.hpp>

namespace frugal {

void LlamaLikeConfig::visit(FieldVisitor& v) {
  v.field("vocab_size", vocab_size, "tokens");
  v.field("hidden_size", hidden_size, "width of the residual stream");
  v.field("intermediate_size", intermediate_size, "width of the feed-forward");
  v.field("num_hidden_layers", num_hidden_layers, "blocks");
  v.field("num_attention_heads", num_attention_heads, "query heads");
  v.field("num_key_value_heads", num_key_value_heads, "key and value heads; default: as many as query heads");
  v.field("head_dim", head_dim, "width of a head; default hidden_size / heads");
  v.field("max_position_embeddings", max_position_embeddings, "longest context");
  v.field("rms_norm_eps", rms_norm_eps, "epsilon of the norms");
  v.field("rope_theta", rope_theta, "base of the rotary frequencies");
  v.field("rope_scaling", rope_scaling, "context extension");
  v.field("rope_parameters", rope_parameters, "the newer name of rope_scaling, rope_theta inside");
  v.field("initializer_range", initializer_range, "standard deviation of initial weights");
  v.field("tie_word_embeddings", tie_word_embeddings, "the head is the embedding");
  v.field("hidden_act", hidden_act, "silu");
}

void WindowConfig::visit(FieldVisitor& v) {
  v.field("sliding_window", sliding_window, "keys a query sees, its own included; null for all");
  v.field("use_sliding_window", use_sliding_window, "switches the window on (Qwen)");
  v.field("max_window_layers", max_window_layers, "first layers without a window (Qwen)");
  v.field("layer_types", layer_types, "full_attention or sliding_attention, by layer");
}

int64_t WindowConfig::window(int64_t layer, bool on_by_default) const {
  if (!sliding_window || *sliding_window <= 0 || !use_sliding_window.value_or(on_by_default)) return 0;
  if (layer_types) {
    const auto i = static_cast<size_t>(layer);
    if (i >= layer_types->size()) fail_usage("config: layer_types has {} entries, fewer than the layers", i);
    return (*layer_types)[i] == "sliding_attention" ? *sliding_window : 0;
  }
  return layer >= max_window_layers.value_or(0) ? *sliding_window : 0;
}

void check_llama_like(const LlamaLikeConfig& c, const char* name) {
  require_at_least(name, "vocab_size", c.vocab_size, 1);
  require_at_least(name, "hidden_size", c.hidden_size, 1);
  require_at_least(name, "intermediate_size", c.intermediate_size, 1);
  require_at_least(name, "num_hidden_layers", c.num_hidden_layers, 1);
  require_at_least(name, "num_attention_heads", c.num_attention_heads, 1);
  require_at_least(name, "max_position_embeddings", c.max_position_embeddings, 1);
  require_divides(name, "num_key_value_heads", c.kv_heads(), "num_attention_heads", c.num_attention_heads);
  if (!c.head_dim)
    require_divides(name, "num_attention_heads", c.num_attention_heads, "hidden_size", c.hidden_size);
  require_equal(name, "hidden_act", c.hidden_act, "silu");
}

std::unique_ptr<Model> build_llama_like(const Json& given, const Json& fields, const LlamaLikeConfig& c,
                                        const LlamaLikeFamily& family) {
  const std::optional<RopeScaling>& scaling = c.rope_parameters ? c.rope_parameters : c.rope_scaling;
  const double theta = scaling ? scaling->rope_theta.value_or(c.rope_theta) : c.rope_theta;
  const auto rope = std::make_shared<RopeTable>(
      rope_frequencies(c.head_width(), theta, scaling, c.max_position_embeddings));
  const auto eps = static_cast<float>(c.rms_norm_eps);
  std::vector<Block> blocks;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    Block block;
    block.names = family.names;
    block.input_norm = Norm(c.hidden_size, eps);
    block.post_attention_norm = Norm(c.hidden_size, eps);
    block.attention = std::make_unique<GqaAttention>(GqaConfig{.hidden = c.hidden_size,
                                                               .heads = c.num_attention_heads,
                                                               .kv_heads = c.kv_heads(),
                                                               .head_dim = c.head_width(),
                                                               .qkv_bias = family.qkv_bias,
                                                               .output_bias = family.output_bias,
                                                               .qk_norm = family.qk_norm,
                                                               .eps = eps,
                                                               .window = family.window(i),
                                                               .sinks = family.sinks},
                                                     rope);
    block.ffn = family.ffn(i);
    blocks.push_back(std::move(block));
  }
  const DecoderConfig decoder{.vocab = c.vocab_size,
                              .hidden = c.hidden_size,
                              .max_positions = c.max_position_embeddings,
                              .eps = eps,
                              .tied = c.tie_word_embeddings,
                              .init_std = c.initializer_range,
                              .bos = token_id(given, "bos_token_id"),
                              .eos = token_id(given, "eos_token_id")};
  return std::make_unique<Decoder>(
      decoder, completed_config(given, fields, family.hf_class, family.model_type), std::move(blocks));
}

}  // namespace frugal
