// GPT-2 in GGUF: matrices lie (out, in) there, Conv1D's (in, out) transposed.
#include <nlohmann/json.hpp>

#include "models/gguf_family.h"

namespace frugal {
namespace {

using enum GgufLayout;

constexpr GgufKey kKeys[] = {
    {"vocab_size", "vocab_size"},
    {"block_count", "n_layer"},
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon", GgufKey::Kind::number},
};

std::vector<GgufName> names() {
  return {
      {"transformer.wte.weight", "token_embd.weight"},
      {"transformer.wpe.weight", "position_embd.weight"},
      {"transformer.ln_f.weight", "output_norm.weight"},
      {"transformer.ln_f.bias", "output_norm.bias"},
      {"lm_head.weight", "output.weight"},
      {"transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight"},
      {"transformer.h.{}.ln_1.bias", "blk.{}.attn_norm.bias"},
      {"transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight", transposed},
      {"transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias"},
      {"transformer.h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight", transposed},
      {"transformer.h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"},
      {"transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"},
      {"transformer.h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"},
      {"transformer.h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight", transposed},
      {"transformer.h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"},
      {"transformer.h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight", transposed},
      {"transformer.h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"},
  };
}

Json config(const GgufFacts& facts) {
  Json out = {{"model_type", "gpt2"}};
  read_gguf_keys(facts, kKeys, out);
  out["tie_word_embeddings"] = !facts.has("output.weight");
  return out;
}

GgufDescription describe(const Json& given) {
  Json complete = given;
  if (!complete.contains("n_inner") || complete["n_inner"].is_null()) {
    complete["n_inner"] = 4 * complete.at("n_embd").get<int64_t>();
  }
  GgufDescription out;
  out.metadata = Json::object();
  write_gguf_keys(complete, kKeys, out.metadata);
  return out;
}

GgufWidths widths(const Json&) {
  return {};
}

}  // namespace

extern const GgufFamily kGpt2Gguf{"gpt2", nullptr, names, config, describe, widths};

}  // namespace frugal
