// tokenizer.json files come from outside: what is malformed or not understood is an Error that names it.
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/rng.h"
#include "text/tokenizer.h"
#include "tokenizer_fixture.h"

namespace frugal {
namespace {

using test::with_parts;

std::string error_of(const std::string& json) {
  try {
    Tokenizer::from_json(json, "", "t.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}
std::string error_of(const char* parts) {
  return error_of(to_text(with_parts(parse_json(parts, "test"))));
}

#define EXPECT_ERROR(json, part) EXPECT_NE(error_of(json).find(part), std::string::npos) << error_of(json)

TEST(TokenizerLoad, WhatIsNotUnderstoodIsNamed) {
  EXPECT_EQ(error_of("{}"), "");
  EXPECT_ERROR(R"({"truncation": {"max_length": 3}})", "truncation");
  EXPECT_ERROR(R"({"padding": {}})", "padding");
  EXPECT_ERROR(R"({"novelty": 1})", "unknown field 'novelty'");
  EXPECT_ERROR(R"({"normalizer": {"type": "Precompiled"}})", "normalizer 'Precompiled'");
  EXPECT_ERROR(R"({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}})",
               "an empty pattern");
  EXPECT_ERROR((R"({"normalizer": {"type": "Replace", "pattern": {"String": ")" + std::string(2000, 'x') +
                R"("}, "content": "x"}})")
                   .c_str(),
               "a pattern of 2000 bytes; at most 1024");
  EXPECT_ERROR(R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "__"}})", "expected one character");
  EXPECT_ERROR(R"({"normalizer": 3})", "normalizer: expected an object");
  EXPECT_ERROR(R"({"pre_tokenizer": null})", "either both are ByteLevel or neither is");
  EXPECT_ERROR(R"({"pre_tokenizer": {"type": "UnicodeScripts"}})", "'UnicodeScripts'");
  EXPECT_ERROR(R"({"pre_tokenizer": {"type": "Metaspace"}})", "'replacement' is missing");
  EXPECT_ERROR(R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}})",
               "'last'");
  EXPECT_ERROR(R"({"pre_tokenizer": {"type": "Digits"}})", "either both are ByteLevel or neither is");
  EXPECT_ERROR(
      R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]}})",
      "after ByteLevel");
  EXPECT_ERROR(R"({"decoder": null})", "decoder");
  EXPECT_ERROR(R"({"decoder": {"type": "WordPiece"}})", "'WordPiece'");
  EXPECT_ERROR(R"({"post_processor": {"type": "BertProcessing"}})", "'BertProcessing'");
  EXPECT_ERROR(R"({"model": {"type": "Unigram"}})", "'Unigram'");
  EXPECT_ERROR(R"({"model": {"vocab": []}})", "Unigram");
  EXPECT_ERROR(R"({"model": {"dropout": 0.1}})", "dropout");
  EXPECT_ERROR(R"({"model": {"byte_fallback": true}})", "byte_fallback");
  EXPECT_ERROR(R"({"model": {"end_of_word_suffix": "</w>"}})", "end_of_word_suffix");
  EXPECT_ERROR(R"({"model": {"continuing_subword_prefix": "##"}})", "continuing_subword_prefix");
}

TEST(TokenizerLoad, BadVocabulariesAndMerges) {
  EXPECT_ERROR(R"({"model": {"vocab": {}}})", "missing or empty");
  EXPECT_ERROR(R"({"model": {"vocab": {"a": 0, "b": 0}, "merges": []}})", "id 0 belongs to both");
  EXPECT_ERROR(R"({"model": {"vocab": {"a": -1}, "merges": []}})", "not a whole number");
  EXPECT_ERROR(R"({"model": {"vocab": {"a": "x"}, "merges": []}})", "not a whole number");
  EXPECT_ERROR(R"({"model": {"vocab": {"a": 2000000000}, "merges": []}})", "out of range");
  EXPECT_ERROR(R"({"model": {"vocab": {"a": 99999999999}, "merges": []}})", "out of range");
  EXPECT_ERROR(R"({"added_tokens": [], "model": {"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}})",
               "names \"ab\"");
  EXPECT_ERROR(R"({"added_tokens": [], "model": {"vocab": {"a": 0, "ac": 1}, "merges": [["a", "c"]]}})",
               "names \"c\"");
  EXPECT_ERROR(R"({"model": {"merges": ["ab"]}})", "two tokens and a space");
  EXPECT_ERROR(R"({"model": {"merges": ["a b c"]}})", "two tokens and a space");
  EXPECT_ERROR(R"({"model": {"merges": [["a"]]}})", "two strings");
  EXPECT_ERROR(R"({"model": {"merges": [["a", "b", "c"]]}})", "two strings");
  EXPECT_ERROR(R"({"model": {"merges": [3]}})", "two tokens");
  EXPECT_ERROR(std::string(R"({"model": {"vocab": {"a": 0}, "vocab": {"b": 0}}})"), "occurs twice");
  EXPECT_ERROR(std::string(R"({"decoder": {"type": "ByteLevel"}, "pre_tokenizer": {"type": "ByteLevel"},
                               "model": {"vocab": {"a": 0, "a": 1}}})"),
               "twice");
}

TEST(TokenizerLoad, BadAddedTokens) {
  EXPECT_ERROR(R"({"added_tokens": [{"id": 5, "content": ""}]})", "empty content");
  EXPECT_ERROR(R"({"added_tokens": [{"id": 16, "content": "new"}]})", "id 16 belongs to both");
  EXPECT_ERROR(R"({"added_tokens": [{"id": 900, "content": "!"}]})", "in added_tokens");
  EXPECT_ERROR(R"({"added_tokens": [{"id": 700, "content": "x y"}, {"id": 700, "content": "x z"}]})",
               "twice");
  EXPECT_ERROR(R"({"added_tokens": [{"id": 2000000000, "content": "x y"}]})", "out of range");
  EXPECT_ERROR(R"({"added_tokens": [{"id": -1, "content": "x y"}]})", "whole number");
  EXPECT_ERROR(R"({"added_tokens": [{"id": 700, "content": "x y", "color": 1}]})", "'color'");
  const Json template_with_bad_id = parse_json(
      R"({"post_processor": {"type": "TemplateProcessing", "pair": [],
          "single": [{"SpecialToken": {"id": "s", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
          "special_tokens": {"s": {"id": "s", "ids": [700], "tokens": ["s"]}}}})",
      "test");
  EXPECT_ERROR(to_text(with_parts(template_with_bad_id)), "id 700 is not in the vocabulary");
}

TEST(TokenizerLoad, PatternsWeCannotTranslateAreRefused) {
  const auto pattern = [](const std::string& regex) {
    Json parts;
    parts["pre_tokenizer"]["type"] = "Sequence";
    parts["pre_tokenizer"]["pretokenizers"] = Json::array(
        {{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}},
         {{"type", "ByteLevel"}, {"add_prefix_space", false}}});
    return error_of(to_text(with_parts(parts)));
  };
  EXPECT_EQ(pattern(R"((?:a|b)+?[\p{L}\s]\x{41}+)"), "");
  for (const char* bad :
       {"(?m:.)", R"(\h)", "[a[b]]", "[a&&b]", "(", "[a", R"(\p{Nonsense})", "a{2}+", R"(\K)", "(?<n>a)"}) {
    EXPECT_NE(pattern(bad), "") << bad;
  }
}

TEST(TokenizerLoad, CutOrChangedFilesNeverCrash) {
  const std::string whole = read_file(test::golden("trained.json"));
  Rng rng(1);
  for (int i = 0; i < 60; ++i) {
    EXPECT_NE(error_of(whole.substr(0, rng.below(whole.size() - 10))), "");
  }
  for (int i = 0; i < 300; ++i) {
    std::string changed = whole;
    for (int k = 0; k < 3; ++k) changed[rng.below(changed.size())] = "0\"{}[],:\xFF a"[rng.below(11)];
    try {
      const Tokenizer tokenizer = Tokenizer::from_json(changed, "", "t.json");
      tokenizer.encode("Kalo mi 123");
    } catch (const Error&) {
    }
  }
  EXPECT_ERROR(std::string(200'000, '['), "deeper");
  EXPECT_ERROR(std::string("[1]"), "expected a JSON object");
  EXPECT_ERROR(std::string(), "not valid JSON");
}

TEST(TokenizerLoad, ConfigNamesBosEosAndTemplate) {
  const std::string json = read_file(test::golden("trained.json"));
  const auto load = [&](const std::string& config) { return Tokenizer::from_json(json, config, "t.json"); };
  const Tokenizer named =
      load(R"({"bos_token": {"content": "<|bos|>"}, "eos_token": "<|eos|>", "chat_template":
                                   [{"name": "x", "template": "no"}, {"name": "default", "template": "yes"}]})");
  EXPECT_EQ(named.bos_id(), 0);
  EXPECT_EQ(named.eos_id(), 1);
  EXPECT_EQ(named.chat_template(), "yes");
  const Tokenizer bare = load(R"({"bos_token": null, "eos_token": "<missing>"})");
  EXPECT_FALSE(bare.bos_id());
  EXPECT_FALSE(bare.eos_id());
  EXPECT_THROW(load("[]"), Error);
  EXPECT_THROW(load("{"), Error);
  EXPECT_THROW(Tokenizer::load("/nonexistent"), Error);
}

}  // namespace
}  // namespace frugal
