// Tokenizers from and to the vocabularies of GGUF files. What comes from there is written as the
// tokenizer.json that Hugging Face would have, so a model converted from GGUF has its tokenizer files.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "text/ggml_pre.h"
#include "text/tokenizer_state.h"

namespace frugal {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space

std::string json_text(std::string_view text) {
  return to_text(Json(text));
}

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

// Whether a token is matched as a whole: those that are control, and those that someone added.
bool is_added(GgmlTokenType type) {
  return type == GgmlTokenType::control || type == GgmlTokenType::unknown ||
         type == GgmlTokenType::user_defined;
}

std::string added_tokens(const GgmlVocabulary& v) {
  std::string out;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (!is_added(v.type(id)) || v.tokens[id].empty()) continue;
    const Json token = {{"id", id},
                        {"content", v.tokens[id]},
                        {"single_word", false},
                        {"lstrip", false},
                        {"rstrip", false},
                        {"normalized", false},
                        {"special", v.type(id) != GgmlTokenType::user_defined}};
    out += (out.empty() ? "    " : ",\n    ") + to_text(token);
  }
  return "[\n" + out + "\n  ]";
}

struct Ends {
  bool bos, eos;
};
Ends ends_of(const GgmlVocabulary& v, bool bos_by_default) {
  return {v.add_bos.value_or(bos_by_default) && v.bos.has_value(),
          v.add_eos.value_or(false) && v.eos.has_value()};
}

std::string post_processor(const GgmlVocabulary& v, const Ends& ends) {
  if (!ends.bos && !ends.eos) return "null";
  Json single = Json::array(), special = Json::object();
  const auto add = [&](int64_t id) {
    const std::string& token = v.tokens[static_cast<size_t>(id)];
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[token] = {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
  };
  if (ends.bos) add(*v.bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  if (ends.eos) {
    add(*v.eos);
    pair.push_back(single.back());
  }
  return to_text(
      Json{{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}});
}

std::string tokenizer_config(const GgmlVocabulary& v, const Ends& ends) {
  Json config;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["add_bos_token"] = ends.bos;
  config["add_eos_token"] = ends.eos;
  const auto set = [&](const char* key, const std::optional<int64_t>& id) {
    if (id) config[key] = v.tokens[static_cast<size_t>(*id)];
  };
  set("bos_token", v.bos);
  set("eos_token", v.eos);
  set("unk_token", v.unknown);
  set("pad_token", v.pad);
  config["clean_up_tokenization_spaces"] = false;
  if (!v.chat_template.empty()) config["chat_template"] = v.chat_template;
  return to_text(config, 2) + "\n";
}

struct Parts {
  std::string normalizer = "null", pre_tokenizer = "null", post_processor, decoder, model, vocab, merges;
};
// By hand: JSON objects of this size are slow to build.
std::string document(const GgmlVocabulary& v, const Parts& p) {
  return "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": " +
         added_tokens(v) + ",\n  \"normalizer\": " + p.normalizer +
         ",\n  \"pre_tokenizer\": " + p.pre_tokenizer + ",\n  \"post_processor\": " + p.post_processor +
         ",\n  \"decoder\": " + p.decoder +
         ",\n  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"continuing_subword_prefix\": null, "
         "\"end_of_word_suffix\": null,\n    " +
         p.model + ",\n    \"vocab\": {\n" + p.vocab + "\n    },\n    \"merges\": [\n" + p.merges +
         "\n    ]\n  }\n}\n";
}

void append(std::string& list, const std::string& item) {
  list += (list.empty() ? "      " : ",\n      ") + item;
}

std::string bpe_json(const GgmlVocabulary& v, const GgmlPre& pre, const Ends& ends) {
  Parts p;
  p.pre_tokenizer = pre.pre_tokenizer;
  p.post_processor = post_processor(v, ends);
  p.decoder = R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})";
  p.model =
      fmt::format(R"("unk_token": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": {})",
                  pre.ignore_merges);
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (!is_added(v.type(id))) append(p.vocab, json_text(v.tokens[id]) + ": " + std::to_string(id));
  }
  for (const std::string& merge : v.merges) append(p.merges, json_text(merge));
  return document(v, p);
}

// The value of "<0x0A>", or -1.
int byte_of(const std::string& token) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

// Merges that give what the scores give (as transformers derives them): every way to make a piece of two,
// better pieces first.
std::string merges_from_scores(const GgmlVocabulary& v) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.type(id) == GgmlTokenType::normal) ids.emplace(v.tokens[id], id);
  }
  struct Merge {
    float score;
    size_t left, right;
  };
  std::vector<Merge> merges;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.type(id) != GgmlTokenType::normal) continue;
    const std::string_view piece = v.tokens[id];
    const size_t first = merges.size();
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      const auto left = ids.find(piece.substr(0, cut)), right = ids.find(piece.substr(cut));
      if (left != ids.end() && right != ids.end())
        merges.push_back({v.scores[id], left->second, right->second});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
              [](const Merge& a, const Merge& b) {
                return std::pair(a.left, a.right) < std::pair(b.left, b.right);
              });
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const Merge& a, const Merge& b) { return a.score > b.score; });
  std::string out;
  for (const Merge& m : merges) append(out, json_text(v.tokens[m.left] + " " + v.tokens[m.right]));
  return out;
}

std::string spm_json(const GgmlVocabulary& v, const Ends& ends, bool prefix) {
  Parts p;
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}};
  const Json prepend = {{"type", "Prepend"}, {"prepend", kSpace}};
  Json back = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                           {{"type", "ByteFallback"}},
                           {{"type", "Fuse"}}});
  if (prefix) back.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  p.normalizer = to_text(prefix ? Json{{"type", "Sequence"}, {"normalizers", Json::array({prepend, replace})}}
                                : replace);
  p.post_processor = post_processor(v, ends);
  p.decoder = to_text(Json{{"type", "Sequence"}, {"decoders", back}});
  p.model = fmt::format(R"("unk_token": {}, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false)",
                        v.unknown ? json_text(v.tokens[static_cast<size_t>(*v.unknown)]) : "null");
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    append(p.vocab, json_text(v.tokens[id]) + ": " + std::to_string(id));
  }
  p.merges = merges_from_scores(v);
  return document(v, p);
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

void Tokenizer::State::load_spm(const GgmlVocabulary& v, const std::string& where) {
  if (v.scores.size() != v.tokens.size())
    fail("{}: {} tokens but {} scores", where, v.tokens.size(), v.scores.size());
  for (const float score : v.scores) {
    if (!std::isfinite(score)) fail("{}: a token has the score {}", where, score);
  }
  const Ends put = ends_of(v, true);
  space_prefix = v.add_space_prefix.value_or(true);
  json = spm_json(v, put, space_prefix);
  config = tokenizer_config(v, put);
  if (put.bos) post.before = {static_cast<int32_t>(*v.bos)};
  if (put.eos) post.after = {static_cast<int32_t>(*v.eos)};
  std::vector<int32_t> byte_ids(256, -1);
  std::vector<AddedToken> tokens;
  std::vector<bool> word(v.tokens.size());
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const GgmlTokenType type = v.type(id);
    if (type == GgmlTokenType::byte) {
      const int byte = byte_of(v.tokens[id]);
      if (byte < 0) fail("{}: {:?} is no byte; expected <0x00> to <0xFF>", where, v.tokens[id]);
      byte_ids[static_cast<size_t>(byte)] = static_cast<int32_t>(id);
      bytes += static_cast<char>(byte);
    } else if (is_added(type)) {
      bytes += type == GgmlTokenType::user_defined ? with_spaces(v.tokens[id]) : v.tokens[id];
      if (v.tokens[id].size() > kMaxAddedToken)
        fail("{}: a special token of {} bytes", where, v.tokens[id].size());
      if (!v.tokens[id].empty())
        tokens.push_back({.id = static_cast<int32_t>(id),
                          .content = v.tokens[id],
                          .special = type != GgmlTokenType::user_defined});
    } else {
      word[id] = type == GgmlTokenType::normal;
      bytes += with_spaces(v.tokens[id]);
    }
    special.push_back(type == GgmlTokenType::control || type == GgmlTokenType::unknown);
    ends.push_back(bytes.size());
  }
  added = AddedTokens(std::move(tokens), normalizer);
  std::vector<std::string_view> pieces(v.tokens.size());
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (word[id]) pieces[id] = bytes_of(id);
  }
  spm.emplace(pieces, v.scores, std::move(byte_ids), static_cast<int32_t>(v.unknown.value_or(-1)));
  load_config(where);
}

Tokenizer Tokenizer::from_ggml(const GgmlVocabulary& v, const std::string& where) {
  check(v, where);
  if (v.model == "llama") {
    auto state = std::make_shared<State>();
    state->load_spm(v, where);
    return Tokenizer(std::move(state));
  }
  if (v.model != "gpt2")
    fail("{}: tokenizer.ggml.model '{}' is not supported; supported: gpt2, llama", where, v.model);
  const GgmlPre pre = frugal::ggml_pre(v.pre, where + ": tokenizer.ggml.pre");
  const Ends ends = ends_of(v, pre.add_bos);
  return from_json(bpe_json(v, pre, ends), tokenizer_config(v, ends), where);
}

GgmlVocabulary Tokenizer::to_ggml(int64_t rows) const {
  const State& s = *state_;
  CHECK(!s.spm, "vocabularies of GGUF files are copied from there");
  if (rows < vocab_size())
    fail("the tokenizer has {} tokens, the model only {} rows of embeddings", vocab_size(), rows);
  GgmlVocabulary out;
  out.pre = ggml_pre();
  if (out.pre.empty()) {
    fail("llama.cpp has no name for this tokenizer's pre-tokeniser, so GGUF cannot say how it splits text");
  }
  const TokenizerFile file = parse_tokenizer_file(s.json, "tokenizer.json");
  out.tokens.resize(static_cast<size_t>(rows));
  out.types.assign(static_cast<size_t>(rows), static_cast<int32_t>(GgmlTokenType::unused));
  const auto set = [&](int64_t id, const std::string& token, GgmlTokenType type) {
    out.tokens[static_cast<size_t>(id)] = token;
    out.types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  };
  for (int64_t id = 0; id < rows; ++id) set(id, fmt::format("[PAD{}]", id), GgmlTokenType::unused);
  for (const auto& [token, id] : file.vocab) set(id, token, GgmlTokenType::normal);
  for (const AddedToken& token : s.added.tokens()) {
    set(token.id, token.content, token.special ? GgmlTokenType::control : GgmlTokenType::user_defined);
  }
  for (const auto& [left, right] : file.merges) out.merges.push_back(left + " " + right);
  out.bos = bos_id();
  out.eos = eos_id();
  const auto only = [](const std::vector<int32_t>& ids, const std::optional<int64_t>& id) {
    return ids.size() == 1 && id && ids[0] == *id;
  };
  out.add_bos = only(s.post.before, out.bos);
  out.add_eos = only(s.post.after, out.eos);
  if (*out.add_bos != !s.post.before.empty() || *out.add_eos != !s.post.after.empty()) {
    fail(
        "the tokenizer's post-processor puts other tokens than BOS and EOS around a text; GGUF cannot say "
        "that");
  }
  out.chat_template = s.chat_template;
  return out;
}

}  // namespace frugal
