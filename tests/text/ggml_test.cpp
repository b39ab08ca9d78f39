// Vocabularies of GGUF files: pre-tokeniser names, byte-level BPE there and back, SentencePiece by
// definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "text/ggml_pre.h"
#include "text/pretokenizer.h"
#include "text/spm.h"
#include "tokenizer_fixture.h"

namespace frugal {
namespace {

using test::golden;
using test::golden_tokenizer;
using Type = GgmlTokenType;

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
#define EXPECT_SAYS(part, ...) \
  EXPECT_NE(message([&] { __VA_ARGS__; }).find(part), std::string::npos) << message([&] { __VA_ARGS__; })

TEST(GgmlPre, NamesAndMeaningsBelongTogether) {
  for (const char* name :
       {"default", "gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder", "deepseek-v3",
        "gpt-4o", "tekken", "falcon", "qwen35", "chatglm-bpe"}) {
    const GgmlPre pre = ggml_pre(name, "x");
    const Json json = parse_json(pre.pre_tokenizer, name);
    EXPECT_EQ(ggml_pre_name(json, pre.ignore_merges), name);
    EXPECT_NO_THROW(PreTokenizer(json, name));
  }
  EXPECT_EQ(ggml_pre("glm4", "x").pre_tokenizer, ggml_pre("llama-bpe", "x").pre_tokenizer);
  EXPECT_FALSE(ggml_pre("glm4", "x").add_bos);
  EXPECT_EQ(ggml_pre("starcoder", "x").pre_tokenizer, ggml_pre("smollm", "x").pre_tokenizer);
  EXPECT_EQ(ggml_pre("", "x").pre_tokenizer, ggml_pre("default", "x").pre_tokenizer);
  EXPECT_TRUE(ggml_pre("llama-bpe", "x").ignore_merges);
  EXPECT_TRUE(ggml_pre("llama-bpe", "x").add_bos);
  EXPECT_SAYS("f.gguf: pre-tokeniser 'nonsense' is not supported; supported: qwen2",
              ggml_pre("nonsense", "f.gguf"));
}

// As transformers' converter writes it for gpt-oss.
TEST(GgmlPre, TokenizerOfGptOss) {
  Json json = parse_json(ggml_pre("gpt-4o", "x").pre_tokenizer, "x");
  EXPECT_EQ(ggml_pre_name(json, true), "gpt-4o");
  json["pretokenizers"][0]["behavior"] = "Removed";
  json["pretokenizers"][0]["invert"] = true;
  EXPECT_EQ(ggml_pre_name(json, true), "gpt-4o");
  EXPECT_EQ(ggml_pre_name(parse_json(ggml_pre("llama-bpe", "x").pre_tokenizer, "x"), true), "llama-bpe");
}

TEST(GgmlPre, OtherPreTokenizersHaveNoName) {
  for (const char* json :
       {R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})",
        R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "x"},
            "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
        R"({"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": false})", "null",
        "[]", "{}"}) {
    EXPECT_EQ(ggml_pre_name(parse_json(json, "x"), false), "") << json;
  }
}

TEST(GgmlVocabularies, ByteLevelBpeComesBack) {
  const Tokenizer original = golden_tokenizer();
  const int64_t rows = original.vocab_size() + 3;
  const GgmlVocabulary vocabulary = original.to_ggml(rows);
  EXPECT_EQ(vocabulary.pre, "qwen2");
  EXPECT_EQ(std::ssize(vocabulary.tokens), rows);
  EXPECT_EQ(vocabulary.type(static_cast<size_t>(rows - 1)), Type::unused);
  EXPECT_EQ(vocabulary.type(0), Type::control);
  const Tokenizer back = Tokenizer::from_ggml(vocabulary, "x.gguf");
  EXPECT_EQ(back.vocab_size(), rows);
  EXPECT_EQ(back.bos_id(), original.bos_id());
  EXPECT_EQ(back.eos_id(), original.eos_id());
  EXPECT_EQ(back.chat_template(), original.chat_template());
  const Json cases = read_json_file(golden("cases.json"));
  for (const Json& text : cases.at("texts")) {
    const EncodeOptions control{.add_special = true, .parse_special = true};
    EXPECT_EQ(back.encode(text.get<std::string>()), original.encode(text.get<std::string>()));
    EXPECT_EQ(back.encode(text.get<std::string>(), control),
              original.encode(text.get<std::string>(), control));
  }
  EXPECT_SAYS("rows of embeddings", original.to_ggml(original.vocab_size() - 1));
  // The first ids are added tokens. Hugging Face's library keeps such an id only for what is in the
  // vocabulary.
  const Json json = parse_json(back.json(), "tokenizer.json");
  for (const Json& token : json["added_tokens"]) {
    const auto entry = json["model"]["vocab"].find(token["content"].get<std::string>());
    ASSERT_NE(entry, json["model"]["vocab"].end()) << token["content"];
    EXPECT_EQ(*entry, token["id"]);
  }
}

// A vocabulary whose texts are its own.
struct Owned : GgmlVocabulary {
  std::shared_ptr<std::deque<std::string>> texts = std::make_shared<std::deque<std::string>>();
  Owned() {
    storage = texts;
    model = "llama";
  }
  std::string_view keep(std::string text) { return texts->emplace_back(std::move(text)); }
};

Owned small_spm() {
  Owned v;
  const auto add = [&](const std::string& token, float score, Type type = Type::normal) {
    v.tokens.push_back(v.keep(token));
    v.scores.push_back(score);
    v.types.push_back(static_cast<int32_t>(type));
  };
  add("<unk>", 0, Type::unknown);
  add("<s>", 0, Type::control);
  add("</s>", 0, Type::control);
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), 0, Type::byte);
  float score = 0;
  for (const char* piece :
       {"▁a", "ab", "▁ab", "abab", "▁▁", "▁▁▁▁", "ba", "é", "▁", "a", "b", "s", ">", "<", "<s", "s>"}) {
    add(piece, score -= 1);
  }
  add("[X]", 0, Type::user_defined);
  add("never", 0, Type::unused);
  v.unknown = 0, v.bos = 1, v.eos = 2;
  return v;
}

std::string pieces(const Tokenizer& t, std::string_view text, const EncodeOptions& options = {}) {
  std::string out;
  for (const int32_t id : t.encode(text, options))
    out += (out.empty() ? "" : "|") + std::string(t.token_bytes(id));
  return out;
}

TEST(Spm, MergesBestScoresFirst) {
  const Tokenizer t = Tokenizer::from_ggml(small_spm(), "x");
  EXPECT_EQ(pieces(t, "ab"), " ab");  // "▁a" is better than "ab", then "▁ab"
  EXPECT_EQ(pieces(t, "bab"), " |b|ab");
  EXPECT_EQ(pieces(t, "babab"), " |b|abab");
  EXPECT_EQ(pieces(t, "    b"), "    | |b");
  EXPECT_EQ(pieces(t, "é"), " |é");
  EXPECT_EQ(pieces(t, "ü"), " |\xC3|\xBC");
  EXPECT_EQ(pieces(t, "\xFF"), " |\xFF");
  EXPECT_EQ(pieces(t, ""), "");
  EXPECT_EQ(pieces(t, "a▁a"), " a| a");  // the sign for a space is a space
}

TEST(Spm, SpecialTokensInTextAreData) {
  const Tokenizer t = Tokenizer::from_ggml(small_spm(), "x");
  EXPECT_EQ(pieces(t, "<s>"), " |<s|>");
  EXPECT_EQ(pieces(t, "<s>a", {.parse_special = true}), "<s>| a");
  EXPECT_EQ(pieces(t, "b[X]b"), " |b|[X]| |b");  // user-defined: always one token
  EXPECT_EQ(pieces(t, "a", {.add_special = true}), "<s>| a");
  EXPECT_EQ(pieces(t, "never").find("never"), std::string::npos);
}

TEST(Spm, DecodingGivesTheTextBack) {
  const Tokenizer t = Tokenizer::from_ggml(small_spm(), "x");
  Rng rng(3);
  static const std::string kParts[] = {"a",  "b",   " ",  "ab",       "é",    "x",
                                       "\n", "<s>", "日", "\xF0\x9F", "\xFF", "  "};
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (uint64_t n = rng.bits64() % 12; n > 0; --n) text += kParts[rng.bits64() % std::size(kParts)];
    EXPECT_EQ(t.decode(t.encode(text)), text);
  }
}

// By definition: as long as a union of neighbours is a piece, take the one of the best score, leftmost first.
std::vector<int32_t> by_definition(const GgmlVocabulary& v, const std::string& text) {
  std::vector<std::string> symbols;
  for (const char c : text) symbols.emplace_back(1, c);
  const auto find = [&](const std::string& piece) {
    const auto it = std::ranges::find(v.tokens, piece);
    return it == v.tokens.end() ? -1 : static_cast<int32_t>(it - v.tokens.begin());
  };
  while (true) {
    size_t best = symbols.size();
    float score = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const int32_t id = find(symbols[i] + symbols[i + 1]);
      if (id < 0 || (best < symbols.size() && v.scores[static_cast<size_t>(id)] <= score)) continue;
      best = i;
      score = v.scores[static_cast<size_t>(id)];
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& symbol : symbols) ids.push_back(find(symbol));
  return ids;
}

TEST(Spm, RandomVocabulariesAsDefined) {
  Rng rng(11);
  for (int round = 0; round < 60; ++round) {
    Owned v;
    v.add_space_prefix = false;
    v.add_bos = false;
    for (const char* token : {"a", "b", "c"}) v.tokens.emplace_back(token);
    for (int i = 0; i < 25; ++i) {
      std::string piece;
      for (uint64_t n = 2 + rng.bits64() % 5; n > 0; --n) piece += static_cast<char>('a' + rng.below(3));
      if (std::ranges::find(v.tokens, piece) == v.tokens.end()) v.tokens.push_back(v.keep(piece));
    }
    for (size_t i = 0; i < v.tokens.size(); ++i)
      v.scores.push_back(-static_cast<float>(rng.bits64() % 6));  // with ties
    const Tokenizer t = Tokenizer::from_ggml(v, "x");
    for (int i = 0; i < 40; ++i) {
      std::string text;
      for (uint64_t n = rng.bits64() % 30; n > 0; --n) text += static_cast<char>('a' + rng.below(3));
      EXPECT_EQ(t.encode(text), by_definition(v, text)) << text;
    }
  }
}

TEST(Spm, LongStretchesTakeNoMoreThanNLogN) {
  const Tokenizer t = Tokenizer::from_ggml(small_spm(), "x");
  std::string text;
  for (int i = 0; i < 500000; ++i) text += "ab";
  EXPECT_EQ(t.decode(t.encode(text)), text);
}

TEST(GgmlVocabularies, BadOnesAreErrors) {
  const auto changed = [](auto change) {
    Owned v = small_spm();
    change(v);
    return message([&] { Tokenizer::from_ggml(v, "f.gguf"); });
  };
  const auto expect = [&](const std::string& part, auto change) {
    const std::string text = changed(change);
    EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_TRUE(text.starts_with("f.gguf: ")) << text;
  };
  expect("tokens is empty", [](Owned& v) { v.tokens.clear(); });
  expect("token types", [](Owned& v) { v.types.pop_back(); });
  expect("token type 9", [](Owned& v) { v.types[5] = 9; });
  expect("scores", [](Owned& v) { v.scores.pop_back(); });
  expect("has the score", [](Owned& v) { v.scores[7] = NAN; });
  expect("is no byte", [](Owned& v) { v.tokens[10] = "<0x-1>"; });
  expect("eos_token_id = 5000 is outside", [](Owned& v) { v.eos = 5000; });
  expect("bos_token_id = -2 is outside", [](Owned& v) { v.bos = -2; });
  expect("'bert' is not supported; supported: gpt2, llama", [](Owned& v) { v.model = "bert"; });
  expect("special token of 5000 bytes", [](Owned& v) { v.tokens[1] = v.keep(std::string(5000, 'x')); });
  GgmlVocabulary bpe = golden_tokenizer().to_ggml(golden_tokenizer().vocab_size());
  bpe.merges.push_back("no such");
  EXPECT_NE(message([&] { Tokenizer::from_ggml(bpe, "f.gguf"); }), "no error");
  bpe.merges.back() = "nospace";
  EXPECT_NE(message([&] { Tokenizer::from_ggml(bpe, "f.gguf"); }), "no error");
}

// Characters that fall back to bytes: the tokenizer.json of such a vocabulary, and from there to GGUF again.
TEST(GgmlVocabularies, CharactersWithBytesComeBack) {
  Owned v = small_spm();
  v.chat_template = "{{ messages }}";
  const Tokenizer spm = Tokenizer::from_ggml(v, "x");
  const Tokenizer json = Tokenizer::from_json(spm.json(), spm.config_json(), "tokenizer.json");
  const GgmlVocabulary made = json.to_ggml(json.vocab_size() + 2);
  EXPECT_EQ(made.model, "llama");
  EXPECT_EQ(made.pre, "default");
  EXPECT_EQ(made.unknown, 0);
  EXPECT_EQ(made.bos, 1);
  EXPECT_EQ(made.eos, 2);
  EXPECT_EQ(made.add_bos, true);
  EXPECT_EQ(made.add_space_prefix, true);
  EXPECT_EQ(made.chat_template, v.chat_template);
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    EXPECT_EQ(made.tokens[id], v.tokens[id]);
    EXPECT_TRUE(v.type(id) == Type::unused || made.types[id] == v.types[id]) << v.tokens[id];
  }
  EXPECT_EQ(made.type(v.tokens.size()), Type::unused);
  const Tokenizer back = Tokenizer::from_ggml(made, "x");
  Rng rng(5);
  static const std::string kParts[] = {"a",  "b",   " ",   "ab",   "abab", "é", "ü",
                                       "\n", "<s>", "[X]", "    ", "日",   "▁"};
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (uint64_t n = rng.bits64() % 12; n > 0; --n) text += kParts[rng.bits64() % std::size(kParts)];
    EXPECT_EQ(back.encode(text), json.encode(text)) << text;
    const EncodeOptions control{.add_special = true, .parse_special = true};
    EXPECT_EQ(back.encode(text, control), json.encode(text, control)) << text;
    EXPECT_EQ(back.encode(text, control), spm.encode(text, control)) << text;
  }
}

TEST(GgmlVocabularies, WhatScoresCannotSayIsAnError) {
  const Tokenizer spm = Tokenizer::from_ggml(small_spm(), "x");
  const auto changed = [&](auto change) {
    Json json = parse_json(spm.json(), "x");
    change(json);
    return message([&] {
      const Tokenizer t = Tokenizer::from_json(to_text(json), spm.config_json(), "x");
      t.to_ggml(t.vocab_size());
    });
  };
  EXPECT_EQ(changed([](Json&) {}), "no error");
  const auto expect = [&](const std::string& part, auto change) {
    const std::string text = changed(change);
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect("do not merge into", [](Json& j) { j["model"]["merges"].erase(0); });
  expect("not of neighbouring ranks", [](Json& j) {
    Json& merges = j["model"]["merges"];  // "▁▁▁▁" is made in one way only, "▁ab" in two
    for (size_t i = 0; i < merges.size(); ++i) {
      if (merges[i] != "▁ ab") continue;
      const Json moved = merges[i];
      merges.erase(i);
      merges.push_back(moved);
      return;
    }
  });
  expect("normalizer", [](Json& j) {
    j["normalizer"] = {{"type", "Sequence"},
                       {"normalizers", Json::array({{{"type", "NFKC"}}, j["normalizer"]})}};
  });
  expect("spaces stay spaces", [](Json& j) { j["normalizer"] = nullptr; });
  expect("before merging", [](Json& j) { j["model"]["ignore_merges"] = true; });
  expect("do not become bytes", [](Json& j) { j["model"]["byte_fallback"] = false; });
  expect("certain neighbours", [](Json& j) { j["added_tokens"][0]["rstrip"] = true; });
}

// A text that no piece and no byte covers.
TEST(Spm, WithoutBytesTheUnknownTokenStandsIn) {
  Owned v;
  v.tokens = {"<unk>", "a"};
  v.scores = {0, 0};
  v.types = {static_cast<int32_t>(Type::unknown), static_cast<int32_t>(Type::normal)};
  v.add_space_prefix = false;
  EXPECT_SAYS("has no token for", Tokenizer::from_ggml(v, "x").encode("ab"));
  v.unknown = 0;
  EXPECT_EQ(Tokenizer::from_ggml(v, "x").encode("ab"), (std::vector<int32_t>{1, 0}));
}

}  // namespace
}  // namespace frugal
