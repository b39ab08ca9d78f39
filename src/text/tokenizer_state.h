// The immutable state behind Tokenizer, and how it is read from tokenizer.json.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pretokenizer.h"
#include "text/spm.h"
#include "text/token_decoder.h"
#include "text/tokenizer.h"
#include "text/tokenizer_file.h"

namespace frugal {

inline constexpr size_t kMaxAddedToken = 1024;  // bytes; bounds the time of matching

struct Tokenizer::State {
  mutable std::string json;  // document() gives it
  mutable std::once_flag written;
  std::string config;        // as loaded, as saved
  GgmlVocabulary ggml;       // where it came from, if from there
  std::string names;         // characters: what words may become, one after the other
  std::string bytes;         // of all tokens, one after the other
  std::vector<size_t> ends;  // where token id ends in `bytes`
  std::vector<bool> special;
  Normalizer normalizer;
  AddedTokens added;
  std::optional<PreTokenizer> pre;
  std::optional<BpeModel> bpe;  // with `pre`; or
  std::optional<SpmModel> spm;  // SentencePiece, from a GGUF file
  bool space_prefix = false;    // characters, spm: a decoded text begins with a space that is not its own
  PostProcessor post;
  std::optional<int32_t> bos_id, eos_id;
  std::string bos, eos, chat_template;
  bool template_file = false;  // the template has a file of its own

  std::string_view bytes_of(size_t id) const {
    const size_t begin = id ? ends[id - 1] : 0;
    return std::string_view(bytes).substr(begin, ends[id] - begin);
  }
  // The token with these bytes, or -1.
  int32_t find(std::string_view word) const;
  void load(std::string tokenizer_json, std::string config_json, const std::string& where);

  // From a GGUF file, which is kept: tokenizer.json is written when someone asks for it.
  void load_bpe(GgmlVocabulary vocabulary, const std::string& where);
  void load_spm(GgmlVocabulary vocabulary, const std::string& where);
  const std::string& document() const;  // the text of tokenizer.json
  // Finds BOS, EOS and the template in `config`.
  void load_config(const std::string& where);

 private:
  void begin_ggml(GgmlVocabulary vocabulary, bool bos_by_default, const std::string& where);
  void end_ggml(const std::string& where);
  void load_vocabulary(const TokenizerFile& file, const std::vector<AddedToken>& tokens,
                       const TokenDecoder& decoder, const std::string& where);
};

}  // namespace frugal
