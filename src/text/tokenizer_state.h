// The immutable state behind Tokenizer, and how it is read from tokenizer.json.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_file.h"

namespace frugal {

struct Tokenizer::State {
  std::string json, config;  // as loaded, as saved
  std::string bytes;         // of all tokens, one after the other
  std::vector<size_t> ends;  // where token id ends in `bytes`
  std::vector<bool> special;
  Normalizer normalizer;
  AddedTokens added;
  std::optional<PreTokenizer> pre;
  std::optional<BpeModel> bpe;
  PostProcessor post;
  std::optional<int32_t> bos_id, eos_id;
  std::string bos, eos, chat_template;

  std::string_view bytes_of(size_t id) const {
    const size_t begin = id ? ends[id - 1] : 0;
    return std::string_view(bytes).substr(begin, ends[id] - begin);
  }
  void load(std::string tokenizer_json, std::string config_json, const std::string& where);

 private:
  void load_vocabulary(const TokenizerFile& file, const std::vector<AddedToken>& tokens,
                       const std::string& where);
  void load_config(const std::string& where);
};

}  // namespace frugal
