// A remote teacher's top log-probabilities as targets of the reply they came with.
#include "tune/soft_targets.h"

#include <cmath>

#include "tune/losses.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

class SoftTargets : public TuneTest {
 protected:
  const Tokenizer tokenizer_ = chat_tokenizer(kChatMl);
  const SequenceBuilder builder_{tokenizer_, Turns::all};
  const std::string reply_ = "There were 3 small boats.";

  TokenSequence sequence() const {
    return builder_.build(
        chat_example(Json::array({turn("user", "How many boats?"), turn("assistant", reply_.c_str())})));
  }
  static Json word(std::string_view bytes, double p) {
    Json list = Json::array();
    for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
    return {{"token", "?"}, {"bytes", list}, {"logprob", std::log(p)}};
  }
  // The student's own tokens, each at 0.5 beside "~" at 0.25, and a word that the student lacks at 0.125.
  Json said(const std::string& text) const {
    Json places = Json::array();
    for (const int32_t id : tokenizer_.encode(text)) {
      Json place = word(tokenizer_.token_bytes(id), 0.5);
      place["top"] = {place, word("~", 0.25), word("no such word", 0.125)};
      places.push_back(place);
    }
    return places;
  }
  // Of the row that predicts token i: weights by id, the bucket under -1.
  static std::map<int32_t, float> at(const TokenSequence& sequence, size_t i) {
    std::map<int32_t, float> out;
    for (size_t c = 1; c + 1 < sequence.extra.size(); c += 2) {
      const auto id = static_cast<int32_t>(sequence.extra[c][i - 1]) - 1;
      if (id >= 0) out[id] = sequence.extra[c + 1][i - 1];
    }
    if (!out.empty()) out[-1] = sequence.extra[0][i - 1];
    return out;
  }
};

TEST_F(SoftTargets, WordsThatTheStudentHasAreTargetsTheRestIsABucket) {
  TokenSequence all = sequence();
  const SoftTargetCounts counts = attach_logprobs(tokenizer_, to_text(said(reply_)), "x", all);
  const auto tokens = std::ssize(tokenizer_.encode(reply_));
  EXPECT_EQ(counts.mapped, tokens);
  EXPECT_EQ(counts.unmapped, 0);
  int64_t found = 0;
  for (size_t i = 1; i < all.tokens.size(); ++i) {
    const auto words = at(all, i);
    EXPECT_EQ(!words.empty(), all.learnt[i] && !tokenizer_.is_special(all.tokens[i])) << i;
    if (words.empty()) continue;
    ++found;
    const std::map<int32_t, float> expected = {
        {-1, 0.25f}, {all.tokens[i], 0.5f}, {*tokenizer_.find("~"), 0.25f}};
    ASSERT_EQ(words.size(), 3u);
    for (const auto& [id, p] : expected) EXPECT_NEAR(words.at(id), p, 1e-6) << id;
  }
  EXPECT_EQ(found, tokens);
}

TEST_F(SoftTargets, WhatFitsNoTokenIsLearntAsItIs) {
  // Two of the teacher's tokens are one to it; a later one is a part of a character that it does not tell.
  Json places = said(reply_);
  const std::string joined = std::string(tokenizer_.token_bytes(tokenizer_.encode(reply_)[1])) +
                             std::string(tokenizer_.token_bytes(tokenizer_.encode(reply_)[2]));
  places[1] = word(joined, 0.5);
  places.erase(2);
  const auto tokens = std::ssize(tokenizer_.encode(reply_));
  TokenSequence one = sequence();
  SoftTargetCounts counts = attach_logprobs(tokenizer_, to_text(places), "x", one);
  EXPECT_EQ(counts.mapped, tokens - 2);
  EXPECT_EQ(counts.unmapped, 2);
  // Without "top" the token itself is all there is.
  places = said(reply_);
  for (Json& place : places) place.erase("top");
  places.back().erase("bytes");
  places.back()["token"] = "\xEF\xBF\xBD";
  TokenSequence two = sequence();
  counts = attach_logprobs(tokenizer_, to_text(places), "x", two);
  EXPECT_EQ(counts.mapped, tokens - 1);
  EXPECT_EQ(counts.unmapped, 1);
  EXPECT_EQ(two.extra.size(), 3u);
  // Of another text.
  TokenSequence three = sequence();
  counts = attach_logprobs(tokenizer_, to_text(said("Once upon")), "x", three);
  EXPECT_EQ(counts.mapped, 0);
  EXPECT_EQ(counts.unmapped, tokens);
  EXPECT_TRUE(three.extra.empty());
}

TEST_F(SoftTargets, BadListsAreNamed) {
  TokenSequence any = sequence();
  for (const char* bad : {"{}", "[1]", R"([{"token": "a"}])", R"([{"token": "a", "logprob": -1, "top": 3}])",
                          R"([{"token": "a", "logprob": -1, "bytes": [256]}])"}) {
    EXPECT_NE(error_of([&] { attach_logprobs(tokenizer_, bad, "x.jsonl:7", any); }).find("x.jsonl:7"),
              std::string::npos)
        << bad;
  }
}

// Weighted cross-entropy where there is a distribution, plain where there is none; also packed, and its
// gradient.
TEST_F(SoftTargets, TheObjectiveIsItsFormula) {
  auto model = tiny();
  make_trainable(*model);
  TokenSequence soft = sequence();
  attach_logprobs(tokenizer_, to_text(said("There were")), "x", soft);  // the rest of the reply has none
  const TokenSequence hard = sequence();
  constexpr double kWeight = 0.75;
  double expected = 0;
  const Hidden hidden = model->forward(ctx, Batch::single(soft.tokens), nullptr);
  const Tensor scores = logits(ctx, *model, hidden.normed);
  for (const bool with : {true, false}) {
    for (size_t i = 1; i < soft.tokens.size(); ++i) {
      if (!soft.learnt[i]) continue;
      const float* row = scores.f32() + static_cast<int64_t>(i - 1) * scores.cols();
      double sum = 0;
      for (int64_t v = 0; v < scores.cols(); ++v) sum += std::exp(static_cast<double>(row[v]));
      const auto p = [&](int32_t id) { return std::exp(static_cast<double>(row[id])) / sum; };
      const auto words = with ? at(soft, i) : std::map<int32_t, float>();
      double loss = -std::log(p(soft.tokens[i]));
      if (!words.empty()) {
        double outside = 1, teacher = 0;
        for (const auto& [id, w] : words) {
          if (id < 0) continue;
          outside -= p(id);
          teacher -= static_cast<double>(w) * std::log(p(id));
        }
        teacher -= static_cast<double>(words.at(-1)) * std::log(outside);
        loss = kWeight * teacher + (1 - kWeight) * loss;
      }
      expected += loss;
    }
  }
  PackedBatches batches({soft, hard}, {.pack = true, .shuffle = false});
  const TrainBatch batch = batches.next(1, 128);
  const LossSums step = count_targets(batch, 0);
  const LossSums sums = soft_target_objective(ctx, *model, batch, step, kWeight);
  EXPECT_NEAR(sums.main, expected, 1e-4 * expected);
  EXPECT_EQ(sums.targets, hard.targets() + soft.targets());
  EXPECT_NEAR(soft_target_objective(ctx, *model, batch, step, 0).main,
              sft_objective(ctx, *model, batch, step, 0).main, 1e-4);
}

}  // namespace
}  // namespace frugal
