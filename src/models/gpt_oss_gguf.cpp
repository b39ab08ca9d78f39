// gpt-oss in GGUF's architecture "gpt-oss". What its readers take for granted is not in the file: a window in
// every other layer from the first on, SwiGLU's limit of 7 and slope of 1.702, and (ours) YaRN with unrounded
// bounds, as the model was trained. llama.cpp rounds them, and takes 32 and 1 turns for them whatever the
// file says.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/gguf_family.h"

namespace frugal {
namespace {

using Kind = GgufKey::Kind;

constexpr GgufKey kKeys[] = {
    {"vocab_size", "vocab_size"},
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"expert_feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.value_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", Kind::number},
    {"attention.sliding_window", "sliding_window"},
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
};

std::vector<GgufName> names() {
  return {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"},
      {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
      {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
      {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
      {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"},
      {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
      {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"},
      {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
      {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
      {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
      {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
      {"model.layers.{}.self_attn.sinks", "blk.{}.attn_sinks.weight"},
      {"model.layers.{}.mlp.router.weight", "blk.{}.ffn_gate_inp.weight"},
      {"model.layers.{}.mlp.router.bias", "blk.{}.ffn_gate_inp.bias"},
      {"model.layers.{}.mlp.experts.{}.gate_proj.weight", "blk.{}.ffn_gate_exps.weight"},
      {"model.layers.{}.mlp.experts.{}.gate_proj.bias", "blk.{}.ffn_gate_exps.bias"},
      {"model.layers.{}.mlp.experts.{}.up_proj.weight", "blk.{}.ffn_up_exps.weight"},
      {"model.layers.{}.mlp.experts.{}.up_proj.bias", "blk.{}.ffn_up_exps.bias"},
      {"model.layers.{}.mlp.experts.{}.down_proj.weight", "blk.{}.ffn_down_exps.weight"},
      {"model.layers.{}.mlp.experts.{}.down_proj.bias", "blk.{}.ffn_down_exps.bias"},
  };
}

Json config(const GgufFacts& facts) {
  Json out = {{"model_type", "gpt_oss"}};
  read_gguf_keys(facts, kKeys, out);
  read_gguf_rope(facts, out.at("head_dim").get<int64_t>(), out);
  if (!out.contains("rope_scaling")) out["rope_scaling"] = {{"rope_type", "default"}};
  if (out["rope_scaling"]["rope_type"] == "yarn") out["rope_scaling"]["truncate"] = false;
  out["attention_bias"] = facts.has("blk.0.attn_q.bias");
  out["tie_word_embeddings"] = !facts.has("output.weight");
  return out;
}

void check_what_is_taken_for_granted(const Json& config) {
  const auto layers = config.at("num_hidden_layers").get<int64_t>();
  const auto insist = [&](const char* key, const Json& wanted) {
    Json found = config.value(key, Json());
    while (found.is_array() && std::ssize(found) > layers) found.erase(found.size() - 1);
    if (found != wanted)
      fail("config.json: GGUF's gpt-oss takes {} = {} for granted, found {}", key, to_text(wanted),
           to_text(found));
  };
  insist("swiglu_limit", 7.0);
  insist("swiglu_alpha", 1.702);
  insist("attention_bias", true);
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) types.push_back(i % 2 == 0 ? "sliding_attention" : "full_attention");
  insist("layer_types", types);
}

GgufDescription describe(const Json& given) {
  check_what_is_taken_for_granted(given);
  Json config = given;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    Json scaling = config.value(key, Json());
    if (!scaling.is_object() || scaling.value("rope_type", "") != "yarn") continue;
    if (scaling.value("truncate", true)) fail("{}: GGUF's gpt-oss cannot say truncate = true", key);
    scaling["truncate"] = true;  // the other families' way of saying nothing
    config[key] = scaling;
  }
  GgufDescription out;
  out.metadata = Json::object();
  write_gguf_keys(config, kKeys, out.metadata);
  out.metadata["feed_forward_length"] = config.at("intermediate_size");
  write_gguf_rope(config, config.at("head_dim").get<int64_t>(), out);
  return out;
}

GgufWidths widths(const Json&) {
  return {};
}

}  // namespace

extern const GgufFamily kGptOssGguf{"gpt-oss", nullptr, names, config, describe, widths, true};

}  // namespace frugal
