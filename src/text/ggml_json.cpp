#include "text/ggml_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

namespace frugal {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space

std::string json_text(std::string_view text) {
  return to_text(Json(text));
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

// Whether all added tokens have ids after those of the vocabulary. Hugging Face's library numbers an added
// token that is not in the vocabulary so, whatever id the file says; those that stand elsewhere (SmolLM2's
// are the first) must be in it.
bool added_stand_behind(const GgmlVocabulary& v) {
  bool seen = false;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const bool added = is_added(v.type(id));
    if (seen && !added) return false;
    seen = seen || added;
  }
  return true;
}

std::string post_processor(const GgmlVocabulary& v, const Ends& ends) {
  if (!ends.bos && !ends.eos) return "null";
  Json single = Json::array(), special = Json::object();
  const auto add = [&](int64_t id) {
    const std::string_view token = v.tokens[static_cast<size_t>(id)];
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[std::string(token)] = {
        {"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
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
  for (const Merge& m : merges)
    append(out, json_text(fmt::format("{} {}", v.tokens[m.left], v.tokens[m.right])));
  return out;
}

}  // namespace

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

std::string bpe_json(const GgmlVocabulary& v, const GgmlPre& pre) {
  const Ends ends = ends_of(v, pre.add_bos);
  Parts p;
  p.pre_tokenizer = pre.pre_tokenizer;
  p.post_processor = post_processor(v, ends);
  p.decoder = R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})";
  p.model =
      fmt::format(R"("unk_token": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": {})",
                  pre.ignore_merges);
  const bool behind = added_stand_behind(v);
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (behind && is_added(v.type(id))) continue;
    append(p.vocab, json_text(v.tokens[id]) + ": " + std::to_string(id));
  }
  for (const std::string_view merge : v.merges) append(p.merges, json_text(merge));
  return document(v, p);
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

}  // namespace frugal
