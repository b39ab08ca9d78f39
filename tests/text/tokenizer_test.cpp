#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <map>
#include <thread>

#include "core/error.h"
#include "core/rng.h"
#include "text/byte_alphabet.h"
#include "tokenizer_fixture.h"

namespace frugal {
namespace {

using test::golden;
using test::golden_tokenizer;
using test::tokenizer_with;

std::string joined(const std::vector<int32_t>& ids) {
  std::string out;
  for (const int32_t id : ids) out += (out.empty() ? "" : " ") + std::to_string(id);
  return out;
}

TEST(TokenizerGolden, EveryConfigurationEncodesAsHuggingFaceDoes) {
  const Json cases = read_json_file(golden("cases.json"));
  const Json& texts = cases.at("texts");
  ASSERT_GT(texts.size(), 50u);
  const Json& base = cases.at("configurations").at(0).at("data");
  for (const Json& configuration : cases.at("configurations")) {
    const Tokenizer tokenizer =
        tokenizer_with(configuration.at("parts"), configuration.value("base", "trained.json"));
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto text = texts[i].get<std::string>();
      SCOPED_TRACE(configuration.at("name").get<std::string>() + ", text " + std::to_string(i) + ": " + text);
      const Json& own = configuration.at("data")[i];
      const auto data = (own.is_null() ? base[i] : own).get<std::string>();
      EXPECT_EQ(joined(tokenizer.encode(text)), data);
      const Json& control = configuration.at("control")[i];
      EXPECT_EQ(joined(tokenizer.encode(text, {.add_special = true, .parse_special = true})),
                control.is_null() ? data : control.get<std::string>());
    }
  }
}

std::string random_bytes(Rng& rng) {
  static const std::string kPieces[] = {
      "the ", "\xFF",    "\xE4\xB8\xAD", "\xE4\xB8", "\xF0\x9F\x99\x82", "\xC0\x80", "  ", "\r\n", "'s",
      "123",  "<|bos|>", "\xED\xA0\x80", "kalo",     "\xCC\x81",         "\0",       "!"};
  std::string text;
  for (uint64_t n = rng.below(30); n > 0; --n) {
    if (rng.below(2))
      text += kPieces[rng.below(std::size(kPieces))];
    else
      text += static_cast<char>(rng.below(256));
  }
  return text;
}

TEST(Tokenizer, AnyBytesComeBackExactly) {
  const Tokenizer tokenizer = golden_tokenizer();
  Rng rng(3);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_bytes(rng);
    for (const bool parse : {false, true}) {
      const auto ids = tokenizer.encode(text, {.parse_special = parse});
      ASSERT_EQ(tokenizer.decode(ids), text);
      StreamDecoder stream(tokenizer);
      std::string streamed;
      for (const int32_t id : ids) streamed += stream.push(id);
      ASSERT_EQ(streamed + stream.finish(), text);
    }
  }
}

TEST(Tokenizer, StreamHoldsBackUnfinishedCharacters) {
  const Tokenizer tokenizer = golden_tokenizer();
  const auto byte = [&](char c) { return *tokenizer.find(std::string(1, c)); };
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(byte('\xF0')), "");
  EXPECT_EQ(stream.push(byte('\x9F')), "");
  EXPECT_EQ(stream.push(byte('\x99')), "");
  EXPECT_EQ(stream.push(byte('\x82')), "\xF0\x9F\x99\x82");
  EXPECT_EQ(stream.push(byte('\xE4')), "");
  EXPECT_EQ(stream.push(byte('a')),
            "\xE4"
            "a")
      << "a broken character is passed on once it cannot be completed";
  EXPECT_EQ(stream.push(byte('\xED')), "");
  EXPECT_EQ(stream.push(byte('\xA0')), "\xED\xA0") << "surrogates are never valid";
  EXPECT_EQ(stream.push(byte('\xC3')), "");
  EXPECT_EQ(stream.finish(), "\xC3");
}

TEST(Tokenizer, SpecialTokensInTextAreDataUnlessAsked) {
  const Tokenizer tokenizer = golden_tokenizer();
  const std::string text = "a<|end|>b<|end|>";
  const int32_t end = *tokenizer.find("<|end|>");
  const auto count = [&](const EncodeOptions& options) {
    const auto ids = tokenizer.encode(text, options);
    EXPECT_EQ(tokenizer.decode(ids), text);
    return std::count(ids.begin(), ids.end(), end);
  };
  EXPECT_EQ(count({}), 0);
  EXPECT_EQ(count({.parse_special = true}), 2);
  const TextSpan first{0, 3}, both{0, 10};
  EXPECT_EQ(count({.parse_special = true, .data = {&first, 1}}), 1);
  EXPECT_EQ(count({.parse_special = true, .data = {&both, 1}}), 0);
  const auto ids = tokenizer.encode(text, {.parse_special = true});
  EXPECT_EQ(tokenizer.decode(ids, {.skip_special = true}), "ab");
  EXPECT_TRUE(tokenizer.is_special(end));
  EXPECT_FALSE(tokenizer.is_special(*tokenizer.find("a")));
}

TEST(Tokenizer, DecodeRefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer = golden_tokenizer();
  const int32_t past = tokenizer.vocab_size(), before = -1;
  EXPECT_THROW(tokenizer.decode({&past, 1}), Error);
  EXPECT_THROW(tokenizer.decode({&before, 1}), Error);
}

TEST(Tokenizer, LongRunsWithoutSpacesTakeLinearTime) {
  const Tokenizer tokenizer = golden_tokenizer();
  for (const std::string unit : {"a", "kalomiter", "\xFF", "0", " ", "="}) {
    std::string text;
    while (text.size() < 2'000'000) text += unit;
    const std::clock_t start = std::clock();  // of the processor: the machine may be busy
    const auto ids = tokenizer.encode(text);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_EQ(tokenizer.decode(ids), text);
    EXPECT_LT(seconds, 20) << unit;  // quadratic would take minutes
  }
}

// Merging by definition: the pair of lowest rank, leftmost first, until none is left.
class NaiveBpe {
 public:
  explicit NaiveBpe(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    const Json merges = parse_json(tokenizer.json(), "test").at("model").at("merges");
    for (const Json& item : merges) {
      const auto merge = item.get<std::string>();
      const size_t space = merge.find(' ');
      ranks_[{*alphabet_to_bytes(merge.substr(0, space)), *alphabet_to_bytes(merge.substr(space + 1))}] =
          ranks_.size();
    }
  }
  std::vector<int32_t> encode(const std::string& word) const {
    std::vector<std::string> parts;
    for (const char c : word) parts.emplace_back(1, c);
    while (true) {
      size_t best = SIZE_MAX, at = 0;
      for (size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto found = ranks_.find({parts[i], parts[i + 1]});
        if (found != ranks_.end() && found->second < best) best = found->second, at = i;
      }
      if (best == SIZE_MAX) break;
      parts[at] += parts[at + 1];
      parts.erase(parts.begin() + static_cast<ptrdiff_t>(at) + 1);
    }
    std::vector<int32_t> ids;
    for (const auto& part : parts) ids.push_back(tokenizer_.find(part).value());
    return ids;
  }

 private:
  const Tokenizer& tokenizer_;
  std::map<std::pair<std::string, std::string>, size_t> ranks_;
};

// Below and above the length where the heap takes over from the scan.
TEST(Tokenizer, ShortAndLongWordsMergeByTheDefinition) {
  const Tokenizer tokenizer = golden_tokenizer();
  const NaiveBpe naive(tokenizer);
  Rng rng(5);
  for (int i = 0; i < 300; ++i) {
    std::string word;
    const size_t length = 1 + rng.below(i % 3 ? 80 : 300);
    while (word.size() < length) word += "terkalominqu"[rng.below(12)];
    const auto expected = naive.encode(word);
    ASSERT_EQ(tokenizer.encode(word), expected) << word;
    ASSERT_EQ(tokenizer.encode(word), expected) << word << " from the cache";
  }
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  const Tokenizer shared = golden_tokenizer(), reference = golden_tokenizer();
  std::vector<std::string> texts;
  Rng rng(9);
  for (int i = 0; i < 200; ++i) texts.push_back(random_bytes(rng));
  std::vector<std::vector<int32_t>> expected;
  for (const auto& text : texts) expected.push_back(reference.encode(text));
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < texts.size(); ++i) wrong += shared.encode(texts[i]) != expected[i];
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace frugal
