#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"

namespace frugal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<double> frequencies(const SamplingOptions& options, const std::vector<float>& logits,
                                int draws = 20000) {
  Sampler sampler(options);
  std::vector<double> result(logits.size());
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    result[static_cast<size_t>(sampler.sample(copy, {}, static_cast<uint64_t>(i)))] += 1.0 / draws;
  }
  return result;
}

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> result;
  for (const double p : probabilities) result.push_back(static_cast<float>(std::log(p)));
  return result;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(got[i], 0) << "token " << i << " should never be chosen";
    } else {
      EXPECT_NEAR(got[i], expected[i], 0.015) << "token " << i;
    }
  }
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Sampler sampler({.temperature = 0});
  std::vector<float> logits{-1, 3, 2, 3};
  EXPECT_EQ(sampler.sample(logits, {}, 0), 1);
}

TEST(Sampler, PlainSamplingFollowsTheSoftmax) {
  expect_near(frequencies({}, logs({0.5, 0.1, 0.4})), {0.5, 0.1, 0.4});
}

TEST(Sampler, TemperatureSharpens) {
  // p^2 renormalised
  expect_near(frequencies({.temperature = 0.5}, logs({0.5, 0.1, 0.4})),
              {0.25 / 0.42, 0.01 / 0.42, 0.16 / 0.42});
}

TEST(Sampler, TopKKeepsTheMostLikelyAndTiesGoToTheLowestId) {
  expect_near(frequencies({.top_k = 2}, logs({0.2, 0.3, 0.2, 0.3})), {0, 0.5, 0, 0.5});
  expect_near(frequencies({.top_k = 3}, logs({0.2, 0.3, 0.2, 0.3})), {0.25, 0.375, 0, 0.375});
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  expect_near(frequencies({.top_p = 0.79}, logs({0.1, 0.5, 0.3, 0.1})), {0, 0.625, 0.375, 0});
  expect_near(frequencies({.top_p = 0.5 - 1e-6}, logs({0.1, 0.5, 0.3, 0.1})), {0, 1, 0, 0});
  expect_near(frequencies({.top_p = 0}, logs({0.1, 0.5, 0.3, 0.1})), {0, 1, 0, 0});
}

TEST(Sampler, TopPCountsWhatTopKLeft) {
  // After top-k 2: 0.625, 0.375; the first alone reaches 0.6.
  expect_near(frequencies({.top_k = 2, .top_p = 0.6}, logs({0.1, 0.5, 0.3, 0.1})), {0, 1, 0, 0});
}

TEST(Sampler, TopPSortsBeyondItsFirstPiece) {
  std::vector<float> flat(1000, 0.0f);
  Sampler sampler({.top_p = 0.5});
  std::set<int32_t> chosen;
  for (uint64_t i = 0; i < 20000; ++i) {
    std::vector<float> copy = flat;
    chosen.insert(sampler.sample(copy, {}, i));
  }
  EXPECT_EQ(chosen.size(), 500u);  // all equal: the 500 lowest ids
  EXPECT_EQ(*chosen.rbegin(), 499);
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  expect_near(frequencies({.min_p = 0.5}, logs({0.1, 0.5, 0.3, 0.1})), {0, 0.625, 0.375, 0});
}

TEST(Sampler, RepetitionPenaltyMovesBothSignsDownOnce) {
  Sampler sampler({.temperature = 0, .repetition_penalty = 2});
  std::vector<float> logits{4, -1, 2.5f};
  const std::vector<int32_t> context{0, 0, 1};
  EXPECT_EQ(sampler.sample(logits, context, 0), 2);
  EXPECT_EQ(logits, (std::vector<float>{2, -2, 2.5f}));
}

TEST(Sampler, ChoiceIsAFunctionOfSeedAndPosition) {
  const std::vector<float> flat(50, 0.0f);
  const auto draw = [&](int64_t seed, uint64_t position) {
    Sampler sampler({.seed = seed});
    std::vector<float> copy = flat;
    return sampler.sample(copy, {}, position);
  };
  std::set<int32_t> by_position, by_seed;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(draw(1, static_cast<uint64_t>(i)), draw(1, static_cast<uint64_t>(i)));
    by_position.insert(draw(1, static_cast<uint64_t>(i)));
    by_seed.insert(draw(i, 0));
  }
  EXPECT_GT(by_position.size(), 5u);
  EXPECT_GT(by_seed.size(), 5u);
}

TEST(Sampler, MaskedTokensAreNeverChosen) {
  expect_near(frequencies({}, {-kInf, 0, -kInf, 0}), {0, 0.5, 0, 0.5});
}

TEST(Sampler, ExtremeTemperaturesStayFinite) {
  expect_near(frequencies({.temperature = 1e-300}, {1, 2, 0}), {0, 1, 0});
  expect_near(frequencies({.temperature = 1e6}, {1, 2}), {0.5, 0.5});
}

TEST(Sampler, BrokenModelsAreErrors) {
  Sampler sampler({});
  std::vector<float> nan{0, std::nanf(""), 1}, masked{-kInf, -kInf}, infinite{0, kInf};
  EXPECT_THROW(sampler.sample(nan, {}, 0), Error);
  EXPECT_THROW(sampler.sample(masked, {}, 0), Error);
  EXPECT_THROW(sampler.sample(infinite, {}, 0), Error);
}

TEST(Sampler, OptionsOutOfRangeAreUsageErrors) {
  const double nan = std::nan("");
  for (const SamplingOptions& bad : {SamplingOptions{.temperature = -1},
                                     {.temperature = nan},
                                     {.top_k = -1},
                                     {.top_p = 1.5},
                                     {.top_p = nan},
                                     {.min_p = -0.1},
                                     {.repetition_penalty = 0},
                                     {.repetition_penalty = -2}}) {
    EXPECT_THROW(Sampler{bad}, UsageError);
  }
}

}  // namespace
}  // namespace frugal
