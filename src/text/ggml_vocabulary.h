// A tokenizer as GGUF files keep it (tokenizer.ggml.*): byte-level BPE ("gpt2") with the name of its
// pre-tokenisation, or SentencePiece BPE ("llama") with scores. io/ reads and writes the keys.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace frugal {

enum class GgmlTokenType : int32_t { normal = 1, unknown, control, user_defined, unused, byte };

struct GgmlVocabulary {
  std::string model = "gpt2", pre;
  std::vector<std::string_view> tokens;  // gpt2: in the byte alphabet; llama: with U+2581 for spaces
  std::vector<int32_t> types;            // GgmlTokenType by id, or empty: all normal
  std::vector<float> scores;             // llama only
  std::vector<std::string_view> merges;  // gpt2 only: "a b", by rank
  std::shared_ptr<const void> storage;   // keeps what the views show (a mapped file, say)
  std::optional<int64_t> bos, eos, unknown, pad;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::string chat_template;

  GgmlTokenType type(size_t id) const {
    return types.empty() ? GgmlTokenType::normal : static_cast<GgmlTokenType>(types[id]);
  }
};

}  // namespace frugal
