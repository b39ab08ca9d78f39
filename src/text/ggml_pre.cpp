#include "text/ggml_pre.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "text/pretokenizer.h"
#include "text/qwen2_split.h"

namespace frugal {
namespace {

// Steps of a pre-tokenisation: regexes that isolate their matches, or these. Where llama.cpp writes a pattern
// that its engine can run in place of the one in the model's tokenizer.json, the latter stands here.
constexpr std::string_view kDigits = "\\p{N}", kDigitRuns = "\\p{N}+";
constexpr std::string_view kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kQwen35 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| "
    "?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kTekken =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kGpt4o =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
// Escaped: some of these characters look like, and normalise to, others.
constexpr std::string_view kDeepseekLetters =
    "\\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295"
    "-\u02AF\u0370-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-"
    "\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5"
    "\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-"
    "\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-"
    "\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-"
    "\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115\u2119-"
    "\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145-\u2149\u214E"
    "\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-"
    "\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17"
    "\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-"
    "\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-"
    "\U0001E943]+";
constexpr std::string_view kDeepseekPunctuation =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr std::string_view kDeepseekHan = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";
constexpr std::string_view kDeepseekKana = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr std::string_view kDeepseekV3 =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kLegacyPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|]+";
constexpr std::string_view kFalconPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
constexpr std::string_view kThreeDigits = "[0-9][0-9][0-9]";

struct Entry {
  std::string_view names;  // separated by spaces; the first is the one we write
  std::array<std::string_view, 6> steps;
  bool ignore_merges = false, add_bos = false;
};
constexpr Entry kTable[] = {
    {"qwen2 deepseek-r1-qwen megrez stablelm2 hunyuan solar-open grok-2 kormo", {kQwen2Pattern}},
    {"gpt-2 phi-2 mpt olmo jais exaone4 gigachat a.x-4.0 mellum trillion modern-bert jina-es jina-de "
     "jina-v2-es jina-v2-de granite-docling",
     {kGpt2Pattern}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", {kDigits, kGpt2Pattern}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", {kLlama3}, true, true},
    {"glm4 glm5", {kLlama3}, true},
    {"chatglm-bpe dbrx smaug-bpe", {kLlama3}},
    {"deepseek-llm", {"[\\r\\n]", kDeepseekLetters, kDeepseekPunctuation, "\\s+$", kDeepseekHan, kDigitRuns}},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kDeepseekHan, kDigits}},
    {"deepseek-v3 hunyuan-dense joyai-llm", {"\\p{N}{1,3}", kDeepseekKana, kDeepseekV3}},
    {"gpt-4o llama4 kanana2 minimax-m2", {kGpt4o}},
    {"tekken", {kTekken}, true, true},
    {"qwen35", {kQwen35}},
    {"falcon", {kFalconPunctuation, kGpt2Pattern, kThreeDigits}},
    {"default", {kLegacyPunctuation, kGpt2Pattern, kDigitRuns, kThreeDigits}},
};

bool has_name(const Entry& entry, std::string_view name) {
  for (size_t at = 0; at < entry.names.size();) {
    const size_t end = std::min(entry.names.find(' ', at), entry.names.size());
    if (entry.names.substr(at, end - at) == name) return true;
    at = end + 1;
  }
  return false;
}

std::vector<std::string_view> steps_of(const Entry& entry) {
  std::vector<std::string_view> steps;
  for (const std::string_view step : entry.steps) {
    if (!step.empty()) steps.push_back(step);
  }
  return steps;
}

Json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json pre_tokenizer_of(const Entry& entry) {
  Json list = Json::array();
  std::vector<std::string_view> steps = steps_of(entry);
  const bool gpt2_last = steps.back() == kGpt2Pattern;
  if (gpt2_last) steps.pop_back();
  for (const std::string_view step : steps) {
    if (step == kDigits || step == kDigitRuns) {
      list.push_back({{"type", "Digits"}, {"individual_digits", step == kDigits}});
    } else {
      list.push_back(
          {{"type", "Split"}, {"pattern", {{"Regex", step}}}, {"behavior", "Isolated"}, {"invert", false}});
    }
  }
  list.push_back(byte_level(gpt2_last));
  if (list.size() == 1) return list[0];
  return {{"type", "Sequence"}, {"pretokenizers", list}};
}

// Appends the steps of a "pre_tokenizer"; false when it does something that is no such step.
bool add_steps(const Json& json, std::vector<std::string>& steps) {
  if (!json.is_object() || !json.contains("type")) return false;
  const auto flag = [&](const char* key, bool otherwise) {
    return json.contains(key) && json[key].is_boolean() ? json[key].get<bool>() : otherwise;
  };
  if (json["type"] == "Sequence" && json.contains("pretokenizers") && json["pretokenizers"].is_array()) {
    for (const Json& part : json["pretokenizers"]) {
      if (!add_steps(part, steps)) return false;
    }
    return true;
  }
  if (json["type"] == "ByteLevel") {
    if (flag("add_prefix_space", true)) return false;
    if (flag("use_regex", true)) steps.emplace_back(kGpt2Pattern);
    return true;
  }
  if (json["type"] == "Digits") {
    steps.emplace_back(flag("individual_digits", false) ? kDigits : kDigitRuns);
    return true;
  }
  if (json["type"] != "Split" || !json.contains("pattern") || !json["pattern"].is_object()) return false;
  const Json& pattern = json["pattern"];
  if (!pattern.contains("Regex") || !pattern["Regex"].is_string()) return false;
  // Patterns that match everything: keeping the matches only is the same as isolating them.
  const bool inverted = flag("invert", false);
  if (json.value("behavior", Json()) != (inverted ? "Removed" : "Isolated")) return false;
  steps.push_back(pattern["Regex"].get<std::string>());
  return true;
}

// Some files hold control characters, others their escapes.
std::string escaped(std::string_view pattern) {
  std::string out;
  for (const char c : pattern) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

GgmlPre ggml_pre(std::string_view name, const std::string& where) {
  if (name.empty()) name = "default";
  std::string known;
  for (const Entry& entry : kTable) {
    if (has_name(entry, name)) return {to_text(pre_tokenizer_of(entry)), entry.ignore_merges, entry.add_bos};
    known += (known.empty() ? "" : " ") + std::string(entry.names);
  }
  fail("{}: pre-tokeniser '{}' is not supported; supported: {}", where, name, known);
}

std::string_view ggml_pre_name(const Json& pre_tokenizer, bool ignore_merges) {
  std::vector<std::string> steps;
  if (!add_steps(pre_tokenizer, steps)) return {};
  for (std::string& step : steps) step = escaped(step);
  std::string_view merging;
  for (const Entry& entry : kTable) {
    if (!std::ranges::equal(steps_of(entry), steps)) continue;
    const std::string_view name = entry.names.substr(0, entry.names.find(' '));
    if (entry.ignore_merges == ignore_merges) return name;
    if (ignore_merges) merging = name;
  }
  // gpt-oss's tokenizer.json takes whole words from the vocabulary before it merges; llama.cpp only merges,
  // and calls it gpt-4o all the same. Where every token can be merged from its parts that is the same.
  return merging;
}

}  // namespace frugal
