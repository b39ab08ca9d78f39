#include "text/trained_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/json.h"
#include "text/byte_alphabet.h"
#include "text/qwen2_split.h"
#include "text/special_tokens.h"

namespace frugal {
namespace {

Json byte_level() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
}
std::string json_string(std::string_view text) {
  return to_text(Json(text));
}

std::string added_tokens() {
  std::string out;
  for (size_t id = 0; id < kReservedTokens.size(); ++id) {
    const Json token = {{"id", id},
                        {"content", kReservedTokens[id]},
                        {"single_word", false},
                        {"lstrip", false},
                        {"rstrip", false},
                        {"normalized", false},
                        {"special", true}};
    out += (id ? ",\n    " : "    ") + to_text(token);
  }
  return out;
}

// BOS before a text, nothing after it: EOS is what a model has to learn to say.
std::string post_processor() {
  const auto special = [](const char* kind) { return Json{{kind, {{"id", kBos}, {"type_id", 0}}}}; };
  const auto sequence = [](const char* id, int type) {
    return Json{{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  Json json;
  json["type"] = "TemplateProcessing";
  json["single"] = Json::array({special("SpecialToken"), sequence("A", 0)});
  json["pair"] = Json::array({special("SpecialToken"), sequence("A", 0), sequence("B", 1)});
  const auto bos = std::find(kReservedTokens.begin(), kReservedTokens.end(), kBos) - kReservedTokens.begin();
  json["special_tokens"][std::string(kBos)] = {
      {"id", kBos}, {"ids", Json::array({bos})}, {"tokens", Json::array({kBos})}};
  return to_text(json);
}

}  // namespace

std::string trained_pre_tokenizer() {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", kQwen2Pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return to_text(Json{{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level()})}});
}

std::vector<int32_t> trained_byte_ids() {
  std::vector<int> order(256);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [](int a, int b) {
    return byte_to_char(static_cast<uint8_t>(a)) < byte_to_char(static_cast<uint8_t>(b));
  });
  std::vector<int32_t> ids(256);
  auto next = static_cast<int32_t>(kReservedTokens.size());
  for (const int byte : order) ids[static_cast<size_t>(byte)] = next++;
  return ids;
}

std::string trained_tokenizer_json(const LearnedMerges& learned) {
  std::vector<std::string> names;  // by id, in the byte alphabet
  for (const auto token : kReservedTokens) names.emplace_back(token);
  names.resize(names.size() + 256);
  const std::vector<int32_t> byte_ids = trained_byte_ids();
  for (size_t byte = 0; byte < 256; ++byte) {
    names[static_cast<size_t>(byte_ids[byte])] = bytes_to_alphabet(std::string(1, static_cast<char>(byte)));
  }
  for (const std::string& token : learned.tokens) names.push_back(bytes_to_alphabet(token));

  // Written by hand: a JSON object of this size is slow to build (ordered objects look every key up).
  std::string out =
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n";
  out += added_tokens();
  out += "\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": " + trained_pre_tokenizer();
  out += ",\n  \"post_processor\": " + post_processor();
  out += ",\n  \"decoder\": " + to_text(byte_level());
  out +=
      ",\n  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
      "\"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null, \"fuse_unk\": false, "
      "\"byte_fallback\": false, \"ignore_merges\": false,\n    \"vocab\": {\n";
  for (size_t id = 0; id < names.size(); ++id) {
    out += fmt::format("      {}: {}{}\n", json_string(names[id]), id, id + 1 < names.size() ? "," : "");
  }
  out += "    },\n    \"merges\": [\n";
  for (size_t rank = 0; rank < learned.merges.size(); ++rank) {
    const BpeMerge& m = learned.merges[rank];
    const std::string pair = names[static_cast<size_t>(m.left)] + " " + names[static_cast<size_t>(m.right)];
    out += fmt::format("      {}{}\n", json_string(pair), rank + 1 < learned.merges.size() ? "," : "");
  }
  return out + "    ]\n  }\n}\n";
}

std::string trained_tokenizer_config() {
  Json config;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["bos_token"] = kBos;
  config["eos_token"] = kEos;
  config["pad_token"] = kPad;
  config["additional_special_tokens"] = Json::array({kEndOfTurn, kSystem, kUser, kAssistant, kTool});
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = 1'000'000'000'000;  // the model's config.json says; this file does not know
  config["chat_template"] = kChatTemplate;
  return to_text(config, 2) + "\n";
}

}  // namespace frugal
