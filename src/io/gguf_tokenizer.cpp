#include "io/gguf_tokenizer.h"

#include "core/error.h"
#include "io/gguf_model.h"
#include "io/peft.h"

namespace frugal {
GgmlVocabulary read_ggml_vocabulary(std::shared_ptr<const GgufFile> from) {
  const GgufFile& file = *from;
  GgmlVocabulary v;
  v.storage = std::move(from);
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  v.model = file.text(key("model"));
  if (file.has(key("pre"))) v.pre = file.text(key("pre"));
  v.tokens = file.texts(key("tokens"));
  if (file.has(key("token_type"))) {
    for (const int64_t type : file.integers(key("token_type"))) {
      if (type < 0 || type > INT32_MAX) fail("{}: token type {}", file.path().string(), type);
      v.types.push_back(static_cast<int32_t>(type));
    }
  }
  if (v.model == "llama") v.scores = file.numbers(key("scores"));
  if (v.model == "gpt2") v.merges = file.texts(key("merges"));
  const auto id = [&](const char* name) -> std::optional<int64_t> {
    if (!file.has(key(name))) return std::nullopt;
    const int64_t value = file.integer(key(name));
    // Some writers say "none" by an id outside the vocabulary.
    if (value == -1 || value == UINT32_MAX) return std::nullopt;
    return value;
  };
  v.bos = id("bos_token_id");
  v.eos = id("eos_token_id");
  v.unknown = id("unknown_token_id");
  v.pad = id("padding_token_id");
  if (v.model == "llama") {  // SentencePiece's own
    const auto size = static_cast<int64_t>(v.tokens.size());
    if (!v.unknown && size > 0) v.unknown = 0;
    if (!v.bos && size > 1) v.bos = 1;
    if (!v.eos && size > 2) v.eos = 2;
  }
  const auto flag = [&](const char* name) {
    return file.has(key(name)) ? std::optional(file.boolean(key(name))) : std::nullopt;
  };
  v.add_bos = flag("add_bos_token");
  v.add_eos = flag("add_eos_token");
  v.add_space_prefix = flag("add_space_prefix");
  if (file.has("tokenizer.chat_template")) v.chat_template = file.text("tokenizer.chat_template");
  return v;
}

void write_ggml_vocabulary(const GgmlVocabulary& v, GgufMetadata& metadata) {
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  metadata.add(key("model"), v.model);
  metadata.add(key("pre"), v.pre);
  metadata.add(key("tokens"), std::span<const std::string_view>(v.tokens));
  if (!v.types.empty()) metadata.add(key("token_type"), std::span<const int32_t>(v.types));
  if (!v.scores.empty()) metadata.add(key("scores"), std::span<const float>(v.scores));
  if (v.model == "gpt2") metadata.add(key("merges"), std::span<const std::string_view>(v.merges));
  const auto id = [&](const char* name, const std::optional<int64_t>& value) {
    if (value) metadata.add(key(name), static_cast<uint32_t>(*value));
  };
  id("bos_token_id", v.bos);
  id("eos_token_id", v.eos);
  id("unknown_token_id", v.unknown);
  id("padding_token_id", v.pad);
  if (v.add_bos) metadata.add(key("add_bos_token"), *v.add_bos);
  if (v.add_eos) metadata.add(key("add_eos_token"), *v.add_eos);
  if (v.add_space_prefix) metadata.add(key("add_space_prefix"), *v.add_space_prefix);
  if (!v.chat_template.empty()) metadata.add("tokenizer.chat_template", v.chat_template);
}

Tokenizer load_tokenizer(const fs::path& path) {
  if (is_gguf(path))
    return Tokenizer::from_ggml(read_ggml_vocabulary(std::make_shared<GgufFile>(path)), path.string());
  if (is_adapter(path) && !fs::exists(path / "tokenizer.json")) return load_tokenizer(adapter_base(path));
  return Tokenizer::load(path);
}

}  // namespace frugal
