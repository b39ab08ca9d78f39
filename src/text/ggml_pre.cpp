#include "text/ggml_pre.h"

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
constexpr std::string_view kDeepseekLetters =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-"
    "ἕἘ-"
    "Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-"
    "ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-"
    "ﬗＡ-"
    "Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-"
    "𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
constexpr std::string_view kDeepseekPunctuation = "\\s?[!-/:-~！-／：-～‘-‟　-。]+";
constexpr std::string_view kDeepseekHan = "[一-龥ࠀ-一가-퟿]+";
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
    {"deepseek-v3 hunyuan-dense joyai-llm", {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", kDeepseekV3}},
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
  for (const Entry& entry : kTable) {
    const std::vector<std::string_view> wanted = steps_of(entry);
    if (entry.ignore_merges != ignore_merges || wanted.size() != steps.size()) continue;
    bool same = true;
    for (size_t i = 0; i < steps.size(); ++i) same = same && escaped(steps[i]) == wanted[i];
    if (same) return entry.names.substr(0, entry.names.find(' '));
  }
  return {};
}

}  // namespace frugal
