// Mistral 7B (Jiang et al. 2023): Llama with a sliding window in every layer when the config has one.
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/gguf_family.h"
#include "models/llama_like.h"

namespace frugal {
namespace {

struct MistralConfig : LlamaLikeConfig {
  WindowConfig windows;
  void visit(FieldVisitor& v) {
    LlamaLikeConfig::visit(v);
    windows.visit(v);
  }
};

std::unique_ptr<Model> create(const Json& json) {
  MistralConfig c;
  c.num_key_value_heads = 8;
  c.windows.sliding_window = 4096;
  read_config(c, json);
  check_llama_like(c, "mistral");
  const auto ffn = [c](int64_t) -> std::unique_ptr<FfnModule> {
    return std::make_unique<DenseFfn>(c.hidden_size, c.intermediate_size);
  };
  return build_llama_like(json, write_fields(c), c,
                          {.model_type = "mistral",
                           .hf_class = "MistralForCausalLM",
                           .window = [c](int64_t layer) { return c.windows.window(layer, true); },
                           .ffn = ffn});
}

}  // namespace

extern const Architecture kMistral{"mistral", "MistralForCausalLM", create, &kMistralGguf};

}  // namespace frugal
