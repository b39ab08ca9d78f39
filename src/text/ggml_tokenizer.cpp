// Tokenizers from and to the vocabularies of GGUF files. What comes from there is written as the
// tokenizer.json that Hugging Face would have, so a model converted from GGUF has its tokenizer files.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "text/byte_alphabet.h"
#include "text/ggml_json.h"
#include "text/ggml_spm.h"
#include "text/token_decoder.h"
#include "text/tokenizer_state.h"

namespace frugal {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space

void check(const GgmlVocabulary& v, const std::string& where) {
  const size_t n = v.tokens.size();
  if (n == 0) fail("{}: tokenizer.ggml.tokens is empty", where);
  if (n > INT32_MAX) fail("{}: {} tokens are too many", where, n);
  if (!v.types.empty() && v.types.size() != n) {
    fail("{}: {} tokens but {} token types", where, n, v.types.size());
  }
  for (const int32_t type : v.types) {
    if (type < 0 || type > 6) fail("{}: token type {}; expected 0 to 6", where, type);
  }
  for (const auto& [id, name] :
       {std::pair{v.bos, "bos"}, {v.eos, "eos"}, {v.unknown, "unknown"}, {v.pad, "padding"}}) {
    if (id && (*id < 0 || *id >= static_cast<int64_t>(n))) {
      fail("{}: {}_token_id = {} is outside the vocabulary of {}", where, name, *id, n);
    }
  }
}

std::string with_spaces(std::string_view piece) {
  std::string out;
  for (size_t at = 0; at < piece.size();) {
    const size_t sign = std::min(piece.find(kSpace, at), piece.size());
    out += piece.substr(at, sign - at);
    if (sign < piece.size()) out += ' ';
    at = sign + kSpace.size();
  }
  return out;
}

}  // namespace

// What both kinds have alike: control and added tokens, BOS and EOS, the template.
void Tokenizer::State::begin_ggml(GgmlVocabulary v, bool bos_by_default, const std::string& where) {
  ggml = std::move(v);
  const Ends put = ends_of(ggml, bos_by_default);
  if (put.bos) post.before = {static_cast<int32_t>(*ggml.bos)};
  if (put.eos) post.after = {static_cast<int32_t>(*ggml.eos)};
  config = tokenizer_config(ggml, put);
  std::vector<AddedToken> tokens;
  special.assign(ggml.tokens.size(), false);
  for (size_t id = 0; id < ggml.tokens.size(); ++id) {
    const GgmlTokenType type = ggml.type(id);
    const std::string_view token = ggml.tokens[id];
    if (!is_added(type) || token.empty()) continue;
    if (token.size() > kMaxAddedToken) fail("{}: a special token of {} bytes", where, token.size());
    special[id] = type != GgmlTokenType::user_defined;
    tokens.push_back({.id = static_cast<int32_t>(id), .content = std::string(token), .special = special[id]});
  }
  added = AddedTokens(std::move(tokens), normalizer);
}

void Tokenizer::State::end_ggml(const std::string& where) {
  load_config(where);
  const auto id = [](const std::optional<int64_t>& value) {
    return value ? std::optional(static_cast<int32_t>(*value)) : std::nullopt;
  };
  bos_id = id(ggml.bos);
  eos_id = id(ggml.eos);
}

void Tokenizer::State::load_bpe(GgmlVocabulary vocabulary, const std::string& where) {
  const GgmlPre rules = frugal::ggml_pre(vocabulary.pre, where + ": tokenizer.ggml.pre");
  begin_ggml(std::move(vocabulary), rules.add_bos, where);
  pre.emplace(parse_json(rules.pre_tokenizer, "pre-tokeniser"), where + ": pre-tokeniser");
  const size_t n = ggml.tokens.size();
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(n);
  ends.reserve(n);
  std::vector<bool> word(n);
  for (size_t id = 0; id < n; ++id) {
    const std::string_view token = ggml.tokens[id];
    const bool whole = is_added(ggml.type(id));
    if (!ids.emplace(token, static_cast<int32_t>(id)).second && !whole) {
      fail("{}: token {:?} is in the vocabulary twice", where, token);
    }
    const auto decoded = whole ? std::nullopt : alphabet_to_bytes(token);
    word[id] = decoded && !decoded->empty();
    bytes += decoded ? std::string_view(*decoded) : token;
    ends.push_back(bytes.size());
  }
  std::vector<BpeMerge> merges;
  merges.reserve(ggml.merges.size());
  std::string joined;
  const auto id_of = [&](std::string_view token) {
    const auto found = ids.find(token);
    if (found == ids.end())
      fail("{}: merge {} names {:?}, not in the vocabulary", where, merges.size(), token);
    return found->second;
  };
  for (const std::string_view merge : ggml.merges) {
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
      fail("{}: merge {}: expected two tokens and a space, found {:?}", where, merges.size(), merge);
    }
    joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    merges.push_back({id_of(merge.substr(0, space)), id_of(merge.substr(space + 1)), id_of(joined)});
  }
  ids = {};
  std::vector<std::string_view> words(n);
  for (size_t id = 0; id < n; ++id) {
    if (word[id]) words[id] = bytes_of(id);
  }
  bpe.emplace(words, merges, BpeRules{.ignore_merges = rules.ignore_merges});
  end_ggml(where);
}

void Tokenizer::State::load_spm(GgmlVocabulary vocabulary, const std::string& where) {
  begin_ggml(std::move(vocabulary), true, where);
  const GgmlVocabulary& v = ggml;
  space_prefix = v.add_space_prefix.value_or(true);
  if (v.scores.size() != v.tokens.size()) {
    fail("{}: {} tokens but {} scores", where, v.tokens.size(), v.scores.size());
  }
  for (const float score : v.scores) {
    if (!std::isfinite(score)) fail("{}: a token has the score {}", where, score);
  }
  std::vector<int32_t> byte_ids(256, -1);
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const GgmlTokenType type = v.type(id);
    if (type == GgmlTokenType::byte) {
      const int byte = byte_of_piece(v.tokens[id]);
      if (byte < 0) fail("{}: {:?} is no byte; expected <0x00> to <0xFF>", where, v.tokens[id]);
      byte_ids[static_cast<size_t>(byte)] = static_cast<int32_t>(id);
      bytes += static_cast<char>(byte);
    } else if (special[id]) {
      bytes += v.tokens[id];
    } else {
      bytes += with_spaces(v.tokens[id]);
    }
    ends.push_back(bytes.size());
  }
  std::vector<std::string_view> pieces(v.tokens.size());
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (v.type(id) == GgmlTokenType::normal) pieces[id] = bytes_of(id);
  }
  spm.emplace(pieces, v.scores, std::move(byte_ids), static_cast<int32_t>(v.unknown.value_or(-1)));
  end_ggml(where);
}

// Large, and only wanted by who saves it.
const std::string& Tokenizer::State::document() const {
  std::call_once(written, [this] {
    if (ggml.tokens.empty()) return;
    json = spm ? spm_json(ggml, ends_of(ggml, true), space_prefix)
               : bpe_json(ggml, frugal::ggml_pre(ggml.pre, ggml.pre));
  });
  return json;
}

Tokenizer Tokenizer::from_ggml(GgmlVocabulary v, const std::string& where) {
  check(v, where);
  auto state = std::make_shared<State>();
  if (v.model == "llama") {
    state->load_spm(std::move(v), where);
  } else if (v.model == "gpt2") {
    state->load_bpe(std::move(v), where);
  } else {
    fail("{}: tokenizer.ggml.model '{}' is not supported; supported: gpt2, llama", where, v.model);
  }
  return Tokenizer(std::move(state));
}

// BOS and EOS, and whether they are put around a text; nothing else may be.
static void set_ends(const PostProcessor& post, GgmlVocabulary& out) {
  const auto only = [](const std::vector<int32_t>& ids, const std::optional<int64_t>& id) {
    return ids.size() == 1 && id && ids[0] == *id;
  };
  out.add_bos = only(post.before, out.bos);
  out.add_eos = only(post.after, out.eos);
  if (*out.add_bos != !post.before.empty() || *out.add_eos != !post.after.empty()) {
    fail("the tokenizer puts other tokens than BOS and EOS around a text; GGUF cannot say that");
  }
}

GgmlVocabulary Tokenizer::to_ggml(int64_t rows) const {
  const State& s = *state_;
  CHECK(s.ggml.tokens.empty(), "vocabularies of GGUF files are copied from there");
  if (rows < vocab_size()) {
    fail("the tokenizer has {} tokens, the model only {} rows of embeddings", vocab_size(), rows);
  }
  const bool characters = !s.pre->byte_level();
  GgmlVocabulary out;
  if (!characters && (out.pre = ggml_pre()).empty()) {
    fail("llama.cpp has no name for this tokenizer's pre-tokeniser, so GGUF cannot say how it splits text");
  }
  struct Texts {
    std::vector<std::string> tokens, merges;
  };
  const auto texts = std::make_shared<Texts>();
  const TokenizerFile file = parse_tokenizer_file(s.document(), "tokenizer.json");
  out.types.assign(static_cast<size_t>(rows), static_cast<int32_t>(GgmlTokenType::unused));
  for (int64_t id = 0; id < rows; ++id) texts->tokens.push_back(fmt::format("[PAD{}]", id));
  const auto set = [&](int64_t id, const std::string& token, GgmlTokenType type) {
    texts->tokens[static_cast<size_t>(id)] = token;
    out.types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  };
  for (const auto& [token, id] : file.vocab) set(id, token, GgmlTokenType::normal);
  for (const AddedToken& token : s.added.tokens()) {
    set(token.id, token.content, token.special ? GgmlTokenType::control : GgmlTokenType::user_defined);
  }
  out.tokens.assign(texts->tokens.begin(), texts->tokens.end());
  if (characters) {
    set_spm(file, s.added.tokens(), out);
  } else {
    for (const auto& [left, right] : file.merges) texts->merges.push_back(left + " " + right);
    out.merges.assign(texts->merges.begin(), texts->merges.end());
  }
  out.storage = texts;
  out.bos = bos_id();
  out.eos = eos_id();
  set_ends(s.post, out);
  out.chat_template = s.chat_template;
  return out;
}

}  // namespace frugal
