// Reads tokenizer.json and tokenizer_config.json into a Tokenizer's state, refusing what is not understood.
#include <unordered_map>

#include "core/error.h"
#include "text/byte_alphabet.h"
#include "text/json_fields.h"
#include "text/tokenizer_state.h"

namespace frugal {
namespace {

std::vector<AddedToken> read_added_tokens(const Json& list, const std::string& where) {
  std::vector<AddedToken> tokens;
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonFields fields(list[i], fmt::format("{}[{}]", where, i));
    fields.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken token;
    token.id = static_cast<int32_t>(fields.number("id", INT32_MAX));
    token.content = fields.text("content");
    token.special = fields.flag("special", false);
    token.single_word = fields.flag("single_word", false);
    token.lstrip = fields.flag("lstrip", false);
    token.rstrip = fields.flag("rstrip", false);
    token.normalized = fields.flag("normalized", !token.special);
    if (token.content.empty()) fail("{}: empty content", fields.where());
    if (token.content.size() > kMaxAddedToken) {
      fail("{}: content of {} bytes; at most {} are accepted", fields.where(), token.content.size(),
           kMaxAddedToken);
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void check_model(const JsonFields& model) {
  model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
              "byte_fallback", "ignore_merges"});
  if (model.has("type") && model.text("type") != "BPE") {
    fail("{}: model '{}' is not supported; only BPE is", model.where(), model.text("type"));
  }
  if (model.has("dropout") && !(model.required("dropout").is_number() && model.required("dropout") == 0.0)) {
    fail("{}.dropout: only null is supported", model.where());
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.has(key) && !model.text(key).empty()) fail("{}.{} is not supported", model.where(), key);
  }
}

// What BPE does besides merging. Words made of bytes need no fallback to them.
BpeRules bpe_rules(const JsonFields& model, const std::unordered_map<std::string_view, int32_t>& ids,
                   bool byte_level) {
  const auto id_of = [&](std::string_view name) {
    const auto found = ids.find(name);
    return found == ids.end() ? -1 : found->second;
  };
  BpeRules rules{.ignore_merges = model.flag("ignore_merges", false), .characters = !byte_level};
  if (model.has("unk_token") && !model.text("unk_token").empty())
    rules.unknown = id_of(model.text("unk_token"));
  rules.fuse_unknown = model.flag("fuse_unk", false);
  if (!model.flag("byte_fallback", false)) return rules;
  if (byte_level) fail("{}.byte_fallback: true is not supported with ByteLevel", model.where());
  for (int byte = 0; byte < 256; ++byte) rules.byte_ids.push_back(id_of(fmt::format("<0x{:02X}>", byte)));
  return rules;
}

std::vector<BpeMerge> resolve_merges(const TokenizerFile& file,
                                     const std::unordered_map<std::string_view, int32_t>& ids,
                                     const std::string& where) {
  std::vector<BpeMerge> merges;
  merges.reserve(file.merges.size());
  std::string merged;
  const auto id_of = [&](std::string_view token) {
    const auto found = ids.find(token);
    if (found == ids.end())
      fail("{}: model.merges[{}] names {:?}, not in the vocabulary", where, merges.size(), token);
    return found->second;
  };
  for (const auto& [left, right] : file.merges) {
    merged = left + right;
    merges.push_back({id_of(left), id_of(right), id_of(merged)});
  }
  return merges;
}

// "<s>", {"content": "<s>", ...} or null
std::string token_name(const Json& config, const char* key) {
  if (!config.contains(key)) return {};
  const Json& value = config.at(key);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value.at("content").is_string()) {
    return value.at("content").get<std::string>();
  }
  return {};
}

}  // namespace

void Tokenizer::State::load(std::string tokenizer_json, std::string config_json, const std::string& where) {
  json = std::move(tokenizer_json);
  config = std::move(config_json);
  const TokenizerFile file = parse_tokenizer_file(json, where);
  const JsonFields root(file.rest, where);
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});
  if (root.has("truncation")) fail("{}: truncation is not supported; set it to null", where);
  if (root.has("padding")) fail("{}: padding is not supported; set it to null", where);
  const auto part = [&](const char* key) { return root.has(key) ? root.required(key) : Json(nullptr); };
  normalizer = Normalizer(part("normalizer"), where + ": normalizer");
  pre.emplace(part("pre_tokenizer"), where + ": pre_tokenizer");
  const TokenDecoder decoder(root.object("decoder"), where + ": decoder");
  if (decoder.byte_level() != pre->byte_level()) {
    fail("{}: pre_tokenizer and decoder: either both are ByteLevel or neither is", where);
  }
  space_prefix = decoder.strips_space();
  std::vector<AddedToken> tokens;
  if (root.has("added_tokens"))
    tokens = read_added_tokens(root.list("added_tokens"), where + ": added_tokens");
  load_vocabulary(file, tokens, decoder, where);
  added = AddedTokens(std::move(tokens), normalizer);
  post =
      PostProcessor(part("post_processor"), static_cast<int32_t>(special.size()), where + ": post_processor");
  load_config(where);
}

void Tokenizer::State::load_vocabulary(const TokenizerFile& file, const std::vector<AddedToken>& tokens,
                                       const TokenDecoder& decoder, const std::string& where) {
  const JsonFields model(JsonFields(file.rest, where).object("model"), where + ": model");
  check_model(model);
  if (file.vocab.empty()) fail("{}: model.vocab is missing or empty", where);
  // Ids may have gaps, but tables by id must not outgrow the file.
  const auto limit = static_cast<int64_t>(4 * (file.vocab.size() + tokens.size()) + 65536);
  int64_t size = 0;
  const auto check_id = [&](int64_t id, std::string_view token) {
    if (id >= limit) {
      fail("{}: id {} of {:?} is out of range for {} tokens", where, id, token,
           file.vocab.size() + tokens.size());
    }
    size = std::max(size, id + 1);
  };
  for (const auto& [token, id] : file.vocab) check_id(id, token);
  for (const AddedToken& token : tokens) check_id(token.id, token.content);

  std::vector<const std::string*> named(static_cast<size_t>(size));  // as written, by id
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(file.vocab.size());
  for (const auto& [token, id] : file.vocab) {
    const std::string*& name = named[static_cast<size_t>(id)];
    if (name) fail("{}: id {} belongs to both {:?} and {:?}", where, id, *name, token);
    name = &token;
    if (!ids.emplace(token, static_cast<int32_t>(id)).second)
      fail("{}: {:?} is in model.vocab twice", where, token);
  }
  std::vector<std::string> contents(named.size());
  std::vector<bool> from_words(named.size());  // whether words may become it
  for (size_t id = 0; id < named.size(); ++id) {
    if (!named[id]) continue;
    if (!decoder.byte_level()) {
      contents[id] = decoder.bytes(*named[id]);
      from_words[id] = true;
      continue;
    }
    const auto decoded = alphabet_to_bytes(*named[id]);
    from_words[id] = decoded && !decoded->empty();
    contents[id] = decoded ? *decoded : *named[id];
  }
  special.assign(named.size(), false);
  std::vector<bool> is_added(named.size());
  for (const AddedToken& token : tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (named[id] && *named[id] != token.content) {
      fail("{}: id {} belongs to both {:?} and {:?}", where, id, *named[id], token.content);
    }
    if (is_added[id]) fail("{}: id {} is in added_tokens twice", where, id);
    if (const auto other = ids.find(token.content); other != ids.end() && other->second != token.id) {
      fail("{}: {:?} has id {} in the vocabulary and {} in added_tokens", where, token.content, other->second,
           id);
    }
    is_added[id] = true;
    contents[id] = token.content;
    special[id] = token.special;
  }
  ends.reserve(named.size());
  for (const std::string& content : contents) {
    bytes += content;
    ends.push_back(bytes.size());
  }
  std::vector<std::string_view> words(named.size());
  size_t total = 0;
  for (const std::string* name : named) total += name && !decoder.byte_level() ? name->size() : 0;
  names.reserve(total);  // views of it must stay
  for (size_t id = 0; id < named.size(); ++id) {
    if (!from_words[id]) continue;
    if (!decoder.byte_level()) {
      names += *named[id];
      words[id] = std::string_view(names).substr(names.size() - named[id]->size());
    } else if (!is_added[id] || alphabet_to_bytes(*named[id]) == contents[id]) {
      words[id] = bytes_of(id);
    }
  }
  bpe.emplace(words, resolve_merges(file, ids, where), bpe_rules(model, ids, decoder.byte_level()));
}

int32_t Tokenizer::State::find(std::string_view word) const {
  if (spm) return spm->find(word);
  if (const int32_t id = bpe->find(word); id >= 0 || pre->byte_level()) return id;
  if (word.size() == 1 && word != " ") {
    return bpe->find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(word[0])));
  }
  std::string name;
  for (const char c : word) {
    if (c == ' ') {
      name += "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space
    } else {
      name += c;
    }
  }
  return bpe->find(name);
}

void Tokenizer::State::load_config(const std::string& where) {
  if (config.empty()) return;
  const Json values = parse_json(config, where + " (tokenizer_config.json)");
  if (!values.is_object()) fail("{} (tokenizer_config.json): expected an object", where);
  bos = token_name(values, "bos_token");
  eos = token_name(values, "eos_token");
  const auto id_of = [&](const std::string& name) -> std::optional<int32_t> {
    for (const AddedToken& token : added.tokens()) {
      if (token.content == name) return token.id;
    }
    if (const int32_t id = name.empty() ? -1 : find(name); id >= 0) return id;
    return std::nullopt;
  };
  bos_id = id_of(bos);
  eos_id = id_of(eos);
  if (!values.contains("chat_template")) return;
  const Json& source = values.at("chat_template");
  if (source.is_string()) chat_template = source.get<std::string>();
  if (!source.is_array()) return;
  for (const Json& named : source) {  // several named templates: the one called "default"
    if (!named.is_object() || !named.contains("name") || named.at("name") != "default") continue;
    chat_template = JsonFields(named, where + " (tokenizer_config.json): chat_template").text("template");
  }
}

}  // namespace frugal
