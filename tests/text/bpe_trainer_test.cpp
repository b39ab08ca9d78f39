#include "text/bpe_trainer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "text/special_tokens.h"
#include "tokenizer_fixture.h"

namespace frugal {
namespace {

using test::golden;

Tokenizer train_on_corpus(int threads, const BpeOptions& options) {
  ThreadPool pool(threads);
  BpeTrainer trainer(options, pool);
  std::istringstream lines(read_file(golden("corpus.txt")));
  for (std::string line; std::getline(lines, line);) trainer.add(line);
  return trainer.train();
}

TEST(BpeTrainer, LearnsWhatHuggingFaceLearns) {
  const Tokenizer tokenizer = train_on_corpus(2, {.vocab_size = 700});
  const Json ours = parse_json(tokenizer.json(), "ours"), theirs = read_json_file(golden("trained.json"));
  EXPECT_EQ(ours.at("model").at("vocab").size(), 700u);
  for (const auto& [token, id] : theirs.at("model").at("vocab").items()) {
    ASSERT_EQ(ours.at("model").at("vocab").value(token, -1), id.get<int>()) << token;
  }
  EXPECT_EQ(ours.at("model").at("merges"), theirs.at("model").at("merges"));
}

TEST(BpeTrainer, ThreadsDoNotChangeTheResult) {
  const BpeOptions options{.vocab_size = 500};
  const std::string one = train_on_corpus(1, options).json();
  EXPECT_EQ(train_on_corpus(5, options).json(), one);
  const BpeOptions few_words{.vocab_size = 300, .max_words = 100};
  EXPECT_EQ(train_on_corpus(3, few_words).json(), train_on_corpus(1, few_words).json());
}

TEST(BpeTrainer, SavesWhatLoadsAgain) {
  const Tokenizer trained = train_on_corpus(1, {.vocab_size = 400});
  const fs::path directory = fs::path(testing::TempDir()) / "frugal_tokenizer";
  fs::remove_all(directory);
  trained.save(directory);
  const Tokenizer loaded = Tokenizer::load(directory);
  const std::string text = "Kalo ter <|end|> \xFF 123";
  EXPECT_EQ(loaded.encode(text, {.add_special = true}), trained.encode(text, {.add_special = true}));
  EXPECT_EQ(loaded.encode("", {.add_special = true}), std::vector<int32_t>{*loaded.find(kBos)});
  EXPECT_EQ(loaded.bos_id(), loaded.find(kBos));
  EXPECT_EQ(loaded.eos_id(), loaded.find(kEos));
  EXPECT_NE(loaded.bos_id(), loaded.eos_id());
  EXPECT_EQ(loaded.vocab_size(), 400);
  EXPECT_EQ(loaded.ggml_pre(), "qwen2");
  EXPECT_EQ(loaded.fingerprint(), trained.fingerprint());
  EXPECT_EQ(loaded.chat_template(), kChatTemplate);
  for (const auto token : kReservedTokens)
    EXPECT_TRUE(loaded.is_special(loaded.find(token).value())) << token;
  fs::remove_all(directory);
}

TEST(BpeTrainer, BinaryTextAndHugeWordsAreFine) {
  ThreadPool pool(2);
  BpeTrainer trainer({.vocab_size = 300}, pool);
  trainer.add(std::string(100'000, 'x'));
  trainer.add(std::string(1000, '\xFF') + std::string(1000, '\0'));
  const Tokenizer tokenizer = trainer.train();
  EXPECT_EQ(tokenizer.encode("xxxxxxxx").size(), 1u);
}

std::string error_of(const BpeOptions& options, std::initializer_list<std::string_view> documents) {
  try {
    ThreadPool pool(1);
    BpeTrainer trainer(options, pool);
    for (const auto document : documents) trainer.add(document);
    trainer.train();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(BpeTrainer, SaysWhatIsWrongWithTheInput) {
  EXPECT_NE(error_of({.vocab_size = 271}, {}).find("272 to"), std::string::npos);
  EXPECT_NE(error_of({.vocab_size = int64_t{1} << 40}, {}).find("impossible"), std::string::npos);
  EXPECT_NE(error_of({.vocab_size = 300}, {}).find("empty (0 documents)"), std::string::npos);
  EXPECT_NE(error_of({.vocab_size = 300}, {"", ""}).find("empty (2 documents)"), std::string::npos);
  EXPECT_NE(error_of({.vocab_size = 300}, {"abab"}).find("vocabulary of 273, not 300"), std::string::npos);
  EXPECT_EQ(error_of({.vocab_size = 272}, {"abab"}), "");
}

}  // namespace
}  // namespace frugal
