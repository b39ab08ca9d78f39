// What Llama, Mistral and the Qwen families share: one config, one way to build. A family's file says its
// defaults, its biases and norms, and how to make a block's feed-forward.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/config.h"
#include "models/decoder.h"

namespace frugal {

struct LlamaLikeConfig {
  int64_t vocab_size = 32000, hidden_size = 4096, intermediate_size = 11008;
  int64_t num_hidden_layers = 32, num_attention_heads = 32;
  std::optional<int64_t> num_key_value_heads, head_dim;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6, rope_theta = 10000, initializer_range = 0.02;
  std::optional<RopeScaling> rope_scaling, rope_parameters;
  bool tie_word_embeddings = false;
  std::string hidden_act = "silu";
  void visit(FieldVisitor& v);

  int64_t kv_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  int64_t head_width() const { return head_dim.value_or(hidden_size / num_attention_heads); }
};

// Sliding windows as HF configs say them: which layers see how many keys.
struct WindowConfig {
  std::optional<int64_t> sliding_window, max_window_layers;
  std::optional<bool> use_sliding_window;
  std::optional<std::vector<std::string>> layer_types;
  void visit(FieldVisitor& v);
  // 0 for a layer that sees everything. `on_by_default`: a window alone switches it on (Mistral).
  int64_t window(int64_t layer, bool on_by_default) const;
};

struct LlamaLikeFamily {
  const char* model_type;
  const char* hf_class;
  bool qkv_bias = false, output_bias = false, qk_norm = false, sinks = false;
  BlockNames names = {};
  std::function<int64_t(int64_t layer)> window = [](int64_t) { return int64_t{0}; };
  std::function<std::unique_ptr<FfnModule>(int64_t layer)> ffn;
};

// UsageError on impossible dimensions.
void check_llama_like(const LlamaLikeConfig& config, const char* model_type);
// `fields`: every field the family knows, for the config.json of a saved model.
std::unique_ptr<Model> build_llama_like(const Json& given, const Json& fields, const LlamaLikeConfig& config,
                                        const LlamaLikeFamily& family);

}  // namespace frugal
