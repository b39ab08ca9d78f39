// Text to token ids and back. A Tokenizer is what tokenizer.json says (Hugging Face's format): added tokens,
// normaliser, pre-tokeniser, BPE (of bytes; or of characters that fall back to bytes, as Llama 2 and Mistral
// have it), post-processor. A field that is not understood is an Error, never ignored.
//
// Invalid UTF-8: a maximal run of bytes that belong to no character is a word of its own, and the text on
// either side is pre-tokenised as if it stood alone. So any bytes survive encode and decode, unless the file
// asks for a normaliser.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/ggml_vocabulary.h"

namespace frugal {

struct EncodeOptions {
  bool add_special = false;             // BOS/EOS as the post-processor says
  bool parse_special = false;           // recognise special tokens written in the text
  std::span<const TextSpan> data = {};  // sorted spans that are data even so (user text in a rendered chat)
};

struct DecodeOptions {
  bool skip_special = false;
};

// A value: copies share one immutable state, and const calls are safe from any number of threads.
class Tokenizer {
 public:
  // A model directory (tokenizer.json, tokenizer_config.json and chat_template.jinja when present) or a
  // tokenizer.json.
  static Tokenizer load(const std::filesystem::path& path);
  // From the texts of tokenizer.json and tokenizer_config.json (may be empty); `where` names the first in
  // errors.
  static Tokenizer from_json(std::string tokenizer_json, std::string config_json, const std::string& where);
  // From a GGUF file's vocabulary; `where` names the file in errors.
  static Tokenizer from_ggml(GgmlVocabulary vocabulary, const std::string& where);
  // For a GGUF file with `rows` rows of embeddings. Error when GGUF (llama.cpp) has no name for how this
  // tokenizer works, or there are fewer rows than tokens.
  GgmlVocabulary to_ggml(int64_t rows) const;
  // Writes tokenizer.json, tokenizer_config.json and chat_template.jinja, byte for byte what was loaded or
  // trained.
  void save(const std::filesystem::path& directory) const;

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // Appends to `out`.
  void encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& out) const;
  // Error when an id is not in [0, vocab_size()).
  std::string decode(std::span<const int32_t> ids, const DecodeOptions& options = {}) const;

  int32_t vocab_size() const;  // one more than the largest id
  std::string_view token_bytes(int32_t id) const;
  bool is_special(int32_t id) const;
  // The id of an added token, or of the token with these bytes.
  std::optional<int32_t> find(std::string_view token) const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  const std::string& bos_token() const;  // empty when there is none
  const std::string& eos_token() const;
  const std::string& chat_template() const;  // Jinja source; empty when there is none
  // llama.cpp's tokenizer.ggml.pre for this pre-tokeniser ("qwen2"), or empty when it is not one we know.
  std::string_view ggml_pre() const;
  const std::string& json() const;         // the text of tokenizer.json
  const std::string& config_json() const;  // the text of tokenizer_config.json; may be empty
  uint64_t fingerprint() const;            // changes with anything that changes ids

 private:
  struct State;
  void encode_spm(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& out) const;
  explicit Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

// Decodes ids one by one; bytes of an unfinished character are held back until it is complete.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {})
      : tokenizer_(tokenizer), options_(options) {}
  // The bytes that can be shown now. Bytes that can never become valid UTF-8 are passed on as they are.
  std::string push(int32_t id);
  // What is left at the end.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  DecodeOptions options_;
  std::string held_;
};

}  // namespace frugal
