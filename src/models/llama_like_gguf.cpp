// Llama, Mistral, the Qwen families and openPangu Embedded in GGUF. llama.cpp rotates adjacent pairs in its
// "llama" architecture, so files hold the rows of q and k in that order; the others' are as Hugging Face has
// them.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/gguf_family.h"

namespace frugal {
namespace {

using Kind = GgufKey::Kind;
using enum GgufLayout;

constexpr GgufKey kKeys[] = {
    {"vocab_size", "vocab_size"},
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads", Kind::integer, false},
    {"attention.key_length", "head_dim", Kind::integer, false},
    {"attention.value_length", "head_dim", Kind::integer, false},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", Kind::number},
    {"attention.sliding_window", "sliding_window", Kind::integer, false},
};
constexpr GgufKey kMoeKeys[] = {
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size", Kind::integer, false},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", Kind::integer, false},
    {"expert_weights_norm", "norm_topk_prob", Kind::flag, false},
};

constexpr GgufKey kMixtralKeys[] = {
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
};

constexpr GgufName kCommonNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
    {"model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"},
    {"model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"},
    {"model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"},
};
constexpr GgufName kRotatedNames[] = {
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", rotated_rows},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", rotated_rows},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", rotated_rows},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", rotated_rows},
};
constexpr GgufName kMixtralNames[] = {
    {"model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "blk.{}.ffn_up_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "blk.{}.ffn_down_exps.weight"},
};
constexpr GgufName kQwenNames[] = {
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
    {"model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.mlp.experts.{}.gate_proj.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.mlp.experts.{}.up_proj.weight", "blk.{}.ffn_up_exps.weight"},
    {"model.layers.{}.mlp.experts.{}.down_proj.weight", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.mlp.shared_expert.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight"},
    {"model.layers.{}.mlp.shared_expert.up_proj.weight", "blk.{}.ffn_up_shexp.weight"},
    {"model.layers.{}.mlp.shared_expert.down_proj.weight", "blk.{}.ffn_down_shexp.weight"},
    {"model.layers.{}.mlp.shared_expert_gate.weight", "blk.{}.ffn_gate_inp_shexp.weight"},
};

std::vector<GgufName> joined(std::span<const GgufName> own) {
  std::vector<GgufName> names(std::begin(kCommonNames), std::end(kCommonNames));
  names.insert(names.end(), own.begin(), own.end());
  return names;
}
std::vector<GgufName> llama_names() {
  return joined(kRotatedNames);
}
std::vector<GgufName> mixtral_names() {
  std::vector<GgufName> names = llama_names();
  names.insert(names.end(), std::begin(kMixtralNames), std::end(kMixtralNames));
  return names;
}
std::vector<GgufName> qwen_names() {
  return joined(kQwenNames);
}

int64_t head_width(const Json& config) {
  const auto it = config.find("head_dim");
  if (it != config.end() && it->is_number_integer()) return it->get<int64_t>();
  return config.at("hidden_size").get<int64_t>() / config.at("num_attention_heads").get<int64_t>();
}

GgufWidths widths(const Json& config) {
  return {.head = head_width(config)};
}

// What all of them read alike; `config` has its model_type.
void read_common(const GgufFacts& facts, Json& config) {
  read_gguf_keys(facts, kKeys, config);
  if (config["num_attention_heads"].get<int64_t>() < 1) {
    fail("{}: attention.head_count = {}", facts.where, to_text(config["num_attention_heads"]));
  }
  if (!config.contains("head_dim")) config["head_dim"] = head_width(config);
  read_gguf_rope(facts, head_width(config), config);
  config["tie_word_embeddings"] = !facts.has("output.weight");
}

// Which layers see a window only. GGUF lists flags; HF lists kinds.
void read_windows(const GgufFacts& facts, Json& config) {
  if (!config.contains("sliding_window")) {
    config["sliding_window"] = nullptr;
    return;
  }
  config["use_sliding_window"] = true;
  config["max_window_layers"] = 0;
  const auto pattern = facts.metadata.find("attention.sliding_window_pattern");
  if (pattern == facts.metadata.end() || !pattern->is_array()) return;
  if (pattern->size() != config["num_hidden_layers"].get<size_t>()) {
    fail("{}: attention.sliding_window_pattern has {} entries, expected one per layer ({})", facts.where,
         pattern->size(), to_text(config["num_hidden_layers"]));
  }
  config["layer_types"] = Json::array();
  for (const Json& windowed : *pattern) {
    config["layer_types"].push_back(windowed == true ? "sliding_attention" : "full_attention");
  }
}

// HF's rules (models/llama_like.h, WindowConfig) as one flag per layer.
void write_windows(const Json& config, bool on_by_default, Json& metadata) {
  const Json window = config.value("sliding_window", Json());
  const Json used = config.value("use_sliding_window", Json());
  if (window.is_null() || window.get<int64_t>() <= 0 ||
      !(used.is_boolean() ? used.get<bool>() : on_by_default)) {
    metadata.erase("attention.sliding_window");
    return;
  }
  const Json types = config.value("layer_types", Json());
  const Json first = config.value("max_window_layers", Json());
  Json pattern = Json::array();
  bool all = true, any = false;
  for (int64_t i = 0; i < config.at("num_hidden_layers").get<int64_t>(); ++i) {
    const bool windowed = types.is_array() ? types.at(static_cast<size_t>(i)) == "sliding_attention"
                                           : i >= (first.is_null() ? 0 : first.get<int64_t>());
    pattern.push_back(windowed);
    all = all && windowed;
    any = any || windowed;
  }
  if (!any) metadata.erase("attention.sliding_window");
  if (any && !all) metadata["attention.sliding_window_pattern"] = pattern;
}

GgufDescription describe_common(const Json& given) {
  Json config = given;
  if (!config.contains("num_key_value_heads") || config["num_key_value_heads"].is_null()) {
    config["num_key_value_heads"] = config.at("num_attention_heads");
  }
  config["head_dim"] = head_width(config);
  GgufDescription out;
  out.metadata = Json::object();
  write_gguf_keys(config, kKeys, out.metadata);
  write_gguf_rope(config, head_width(config), out);
  return out;
}

GgufDescription describe_llama(const Json& config) {
  GgufDescription out = describe_common(config);
  out.metadata.erase("attention.sliding_window");
  return out;
}
GgufDescription describe_mistral(const Json& config) {
  GgufDescription out = describe_common(config);
  write_windows(config, true, out.metadata);
  return out;
}
GgufDescription describe_qwen(const Json& config) {
  GgufDescription out = describe_common(config);
  write_windows(config, false, out.metadata);
  return out;
}
GgufDescription describe_qwen_moe(const Json& config) {
  if (config.at("num_experts") == 0) fail("config.json: num_experts = 0; GGUF wants experts here");
  GgufDescription out = describe_qwen(config);
  write_gguf_keys(config, kMoeKeys, out.metadata);
  return out;
}

GgufDescription describe_mixtral(const Json& config) {
  GgufDescription out = describe_mistral(config);
  write_gguf_keys(config, kMixtralKeys, out.metadata);
  return out;
}

bool is_mixtral(const GgufFacts& facts) {
  return facts.metadata.contains("expert_count") && facts.metadata["expert_count"] != 0;
}
bool is_mistral(const GgufFacts& facts) {
  return facts.metadata.contains("attention.sliding_window") && !is_mixtral(facts);
}

Json llama_config(const GgufFacts& facts) {
  Json config = {{"model_type", "llama"}};
  read_common(facts, config);
  config["attention_bias"] = facts.has("blk.0.attn_q.bias");
  config["mlp_bias"] = facts.has("blk.0.ffn_gate.bias");
  return config;
}
Json mistral_config(const GgufFacts& facts) {
  Json config = {{"model_type", "mistral"}};
  read_common(facts, config);
  read_windows(facts, config);
  return config;
}
Json mixtral_config(const GgufFacts& facts) {
  Json config = mistral_config(facts);
  config["model_type"] = "mixtral";
  read_gguf_keys(facts, kMixtralKeys, config);
  return config;
}
Json qwen2_config(const GgufFacts& facts) {
  Json config = {{"model_type", "qwen2"}};
  read_common(facts, config);
  read_windows(facts, config);
  return config;
}
Json qwen3_config(const GgufFacts& facts) {
  Json config = {{"model_type", "qwen3"}};
  read_common(facts, config);
  read_windows(facts, config);
  config["attention_bias"] = facts.has("blk.0.attn_q.bias");
  return config;
}

void read_moe(const GgufFacts& facts, Json& config) {
  read_gguf_keys(facts, kMoeKeys, config);
  if (!config.contains("moe_intermediate_size")) {  // files of early 2024
    const auto it = facts.tensors.find("blk.0.ffn_gate_exps.weight");
    if (it == facts.tensors.end() || it->second.size() != 3) {
      fail("{}: metadata lacks expert_feed_forward_length", facts.where);
    }
    config["moe_intermediate_size"] = it->second[1];
  }
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = Json::array();
  for (int64_t i = 0; i < config["num_hidden_layers"].get<int64_t>(); ++i) {
    const std::string layer = "blk." + std::to_string(i);
    if (facts.has(layer + ".ffn_gate.weight")) config["mlp_only_layers"].push_back(i);
  }
}

Json qwen2_moe_config(const GgufFacts& facts) {
  Json config = {{"model_type", "qwen2_moe"}};
  read_common(facts, config);
  read_windows(facts, config);
  read_moe(facts, config);
  config["qkv_bias"] = facts.has("blk.0.attn_q.bias");
  if (!config.contains("norm_topk_prob")) config["norm_topk_prob"] = false;
  return config;
}
Json qwen3_moe_config(const GgufFacts& facts) {
  Json config = {{"model_type", "qwen3_moe"}};
  read_common(facts, config);
  read_windows(facts, config);
  read_moe(facts, config);
  config["attention_bias"] = facts.has("blk.0.attn_q.bias");
  if (!config.contains("norm_topk_prob")) config["norm_topk_prob"] = true;
  return config;
}

Json pangu_embedded_config(const GgufFacts& facts) {
  Json config = {{"model_type", "PanguEmbedded"}};
  read_common(facts, config);
  config["bias"] = facts.has("blk.0.attn_q.bias");
  return config;
}

}  // namespace

extern const GgufFamily kMistralGguf{"llama",        is_mistral,       llama_names,
                                     mistral_config, describe_mistral, widths};
extern const GgufFamily kMixtralGguf{"llama",        is_mixtral,       mixtral_names,
                                     mixtral_config, describe_mixtral, widths};
extern const GgufFamily kLlamaGguf{"llama", nullptr, llama_names, llama_config, describe_llama, widths};
extern const GgufFamily kQwen2Gguf{"qwen2", nullptr, qwen_names, qwen2_config, describe_qwen, widths};
extern const GgufFamily kQwen3Gguf{"qwen3", nullptr, qwen_names, qwen3_config, describe_qwen, widths};
extern const GgufFamily kQwen2MoeGguf{"qwen2moe",        nullptr, qwen_names, qwen2_moe_config,
                                      describe_qwen_moe, widths,  true};
extern const GgufFamily kQwen3MoeGguf{"qwen3moe",       nullptr,           qwen_names,
                                      qwen3_moe_config, describe_qwen_moe, widths};
extern const GgufFamily kPanguEmbeddedGguf{"pangu-embedded",      nullptr,        qwen_names,
                                           pangu_embedded_config, describe_llama, widths};

}  // namespace frugal
