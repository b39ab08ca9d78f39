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

void check_decoder(const Json& json, const std::string& where) {
  const JsonFields fields(json, where);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    const Json& list = fields.list("decoders");
    if (list.size() == 1) return check_decoder(list[0], where + ".decoders[0]");
  }
  if (type != "ByteLevel") fail("{}: decoder '{}' is not supported (ByteLevel is)", where, type);
  fields.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

void check_model(const JsonFields& model) {
  model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
              "byte_fallback", "ignore_merges"});
  if (model.has("type") && model.text("type") != "BPE") {
    fail("{}: model '{}' is not supported; only byte-level BPE is", model.where(), model.text("type"));
  }
  if (model.has("dropout") && !(model.required("dropout").is_number() && model.required("dropout") == 0.0)) {
    fail("{}.dropout: only null is supported", model.where());
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.has(key) && !model.text(key).empty()) fail("{}.{} is not supported", model.where(), key);
  }
  if (model.flag("byte_fallback", false)) fail("{}.byte_fallback: true is not supported", model.where());
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
  check_decoder(root.object("decoder"), where + ": decoder");
  std::vector<AddedToken> tokens;
  if (root.has("added_tokens"))
    tokens = read_added_tokens(root.list("added_tokens"), where + ": added_tokens");
  load_vocabulary(file, tokens, where);
  added = AddedTokens(std::move(tokens), normalizer);
  post =
      PostProcessor(part("post_processor"), static_cast<int32_t>(special.size()), where + ": post_processor");
  load_config(where);
}

void Tokenizer::State::load_vocabulary(const TokenizerFile& file, const std::vector<AddedToken>& tokens,
                                       const std::string& where) {
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

  std::vector<const std::string*> names(static_cast<size_t>(size));  // as written, by id
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(file.vocab.size());
  for (const auto& [token, id] : file.vocab) {
    const std::string*& name = names[static_cast<size_t>(id)];
    if (name) fail("{}: id {} belongs to both {:?} and {:?}", where, id, *name, token);
    name = &token;
    if (!ids.emplace(token, static_cast<int32_t>(id)).second)
      fail("{}: {:?} is in model.vocab twice", where, token);
  }
  std::vector<std::string> contents(names.size());
  std::vector<bool> from_words(names.size());  // whether words may become it
  for (size_t id = 0; id < names.size(); ++id) {
    if (!names[id]) continue;
    const auto decoded = alphabet_to_bytes(*names[id]);
    from_words[id] = decoded && !decoded->empty();
    contents[id] = decoded ? *decoded : *names[id];
  }
  special.assign(names.size(), false);
  std::vector<bool> is_added(names.size());
  for (const AddedToken& token : tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (names[id] && *names[id] != token.content) {
      fail("{}: id {} belongs to both {:?} and {:?}", where, id, *names[id], token.content);
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
  ends.reserve(names.size());
  for (const std::string& content : contents) {
    bytes += content;
    ends.push_back(bytes.size());
  }
  std::vector<std::string_view> words(names.size());
  for (size_t id = 0; id < names.size(); ++id) {
    if (from_words[id] && (!is_added[id] || alphabet_to_bytes(*names[id]) == contents[id]))
      words[id] = bytes_of(id);
  }
  int32_t unknown = -1;
  if (model.has("unk_token") && !model.text("unk_token").empty()) {
    const auto found = ids.find(model.text("unk_token"));
    unknown = found == ids.end() ? -1 : found->second;
  }
  bpe.emplace(words, resolve_merges(file, ids, where), model.flag("ignore_merges", false), unknown);
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
