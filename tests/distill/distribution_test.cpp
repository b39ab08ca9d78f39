#include "distill/distribution.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

// Logits of a Zipf-like distribution over `vocab` ids in shuffled places: what a trained model's look like.
std::vector<float> zipf_logits(size_t vocab, double exponent, uint64_t seed) {
  std::vector<float> logits(vocab);
  Rng rng(seed);
  for (size_t i = 0; i < vocab; ++i)
    logits[i] = static_cast<float>(-exponent * std::log(static_cast<double>(i) + 1));
  for (size_t i = vocab - 1; i > 0; --i) std::swap(logits[i], logits[rng.below(i + 1)]);
  return logits;
}

std::vector<double> softmax(const std::vector<float>& logits) {
  std::vector<double> p;
  double sum = 0;
  for (const float z : logits) sum += p.emplace_back(std::exp(static_cast<double>(z)));
  for (double& value : p) value /= sum;
  return p;
}

// d(cross-entropy) / d(logits) of a student is W q - w: the mean over draws is that of full distillation, q -
// p; with the k most likely renormalised to 1 it is another one.
TEST(Distribution, DrawsGiveTheFullGradientInTheMeanAndRenormalisedTopKDoesNot) {
  const std::vector<float> logits = zipf_logits(40, 1.1, 1);
  const std::vector<double> p = softmax(logits);
  std::vector<double> mean(p.size());
  constexpr int kTimes = 4000, kDraws = 25;
  for (uint64_t t = 0; t < kTimes; ++t) {
    const SparseDistribution d = draw(logits, kDraws, 9, t);
    for (size_t i = 0; i < d.ids.size(); ++i) {
      mean[static_cast<size_t>(d.ids[i])] += static_cast<double>(d.weights[i]) / kTimes;
    }
  }
  double chi = 0;  // of 100,000 draws: 39 degrees of freedom, so more than 80 has a chance of 1e-4
  for (size_t i = 0; i < p.size(); ++i) chi += (mean[i] - p[i]) * (mean[i] - p[i]) / p[i] * kTimes * kDraws;
  EXPECT_LT(chi, 80);

  const SparseDistribution top = most_likely(logits, 8);
  double kept = 0, bias = 0;
  for (const float w : top.weights) kept += static_cast<double>(w);
  for (size_t i = 0; i < top.ids.size(); ++i) {
    const double exact = p[static_cast<size_t>(top.ids[i])];
    EXPECT_NEAR(static_cast<double>(top.weights[i]), exact, 1e-6);
    bias = std::max(bias, static_cast<double>(top.weights[i]) / kept - exact);
  }
  EXPECT_LT(kept, 0.8);
  EXPECT_GT(bias, 0.05);  // far beyond what draws leave: 3 standard deviations of the mean are 0.004
}

TEST(Distribution, DrawsAreAFunctionOfSeedAndPlace) {
  const std::vector<float> logits = zipf_logits(1000, 1.2, 2);
  EXPECT_EQ(draw(logits, 50, 1, 7).ids, draw(logits, 50, 1, 7).ids);
  EXPECT_NE(draw(logits, 50, 1, 7).ids, draw(logits, 50, 1, 8).ids);
  EXPECT_NE(draw(logits, 50, 1, 7).ids, draw(logits, 50, 2, 7).ids);
  const SparseDistribution certain = draw(std::vector<float>{-1e9f, 3, -1e9f}, 10, 1, 1);
  EXPECT_EQ(certain.ids, std::vector<int32_t>{1});
  EXPECT_EQ(certain.weights, std::vector<float>{1});
}

TEST(Distribution, MostLikelyTiesGoToTheLowerIdAndTooManyAreAll) {
  EXPECT_EQ(most_likely(std::vector<float>{1, 5, 5, 5}, 2).ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(most_likely(std::vector<float>{1, 5}, 9).ids, (std::vector<int32_t>{0, 1}));
}

TEST(Distribution, BrokenLogitsAreAnError) {
  EXPECT_THROW(draw(std::vector<float>{0, NAN}, 3, 1, 1), Error);
  EXPECT_THROW(most_likely(std::vector<float>{-INFINITY, -INFINITY}, 1), Error);
}

TEST(Distribution, BytesRoundTrip) {
  for (const CacheKind kind : {CacheKind::sampled, CacheKind::top_k}) {
    for (const size_t vocab : {1u, 2u, 37u, 5000u}) {
      constexpr int kScale = 20;
      DistributionWriter writer(kind, static_cast<int64_t>(vocab), kScale);
      std::vector<std::optional<SparseDistribution>> all;
      for (uint64_t i = 0; i < 50; ++i) {
        const std::vector<float> logits = zipf_logits(vocab, 0.3 * static_cast<double>(i % 6), i);
        if (i % 7 == 3) {
          all.emplace_back();
        } else {
          all.emplace_back(kind == CacheKind::sampled ? draw(logits, kScale, 1, i)
                                                      : most_likely(logits, kScale));
        }
        writer.add(all.back());
      }
      const std::string bytes = writer.take();
      DistributionReader reader(kind, static_cast<int64_t>(vocab), kScale, bytes);
      for (const auto& expected : all) {
        const auto got = reader.next();
        ASSERT_EQ(got.has_value(), expected.has_value());
        if (!got) continue;
        EXPECT_EQ(got->ids, expected->ids);
        for (size_t i = 0; i < got->weights.size(); ++i) {
          const double tolerance = kind == CacheKind::sampled ? 1e-7 : 1e-4;
          EXPECT_NEAR(got->weights[i] / expected->weights[i], 1, tolerance);
        }
      }
    }
  }
}

// 50 draws a token of DeepSeek's vocabulary from 3.2 nats (Zipf's exponent 1.5), some 19 different ids: more
// than a trained model's predictions have on text.
TEST(Distribution, FiftyDrawsTakeAtMostFortyBytes) {
  constexpr size_t kVocab = 129280;
  const std::vector<float> logits = zipf_logits(kVocab, 1.5, 3);
  DistributionWriter writer(CacheKind::sampled, kVocab, 50);
  size_t ids = 0;
  constexpr size_t kTokens = 40;
  for (uint64_t i = 0; i < kTokens; ++i) {
    const SparseDistribution d = draw(logits, 50, 1, i);
    ids += d.ids.size();
    writer.add(d);
  }
  EXPECT_GT(ids, 15 * kTokens);
  EXPECT_LT(writer.take().size(), 40 * kTokens + 1);
}

TEST(Distribution, DamagedBytesAreAnErrorAndNeverMore) {
  Rng rng(5);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(static_cast<size_t>(rng.below(40)), '\0');
    for (char& c : bytes) c = static_cast<char>(rng.below(256));
    DistributionReader reader(round % 2 ? CacheKind::sampled : CacheKind::top_k, 1000, 50, bytes);
    try {
      for (int i = 0; i < 1000; ++i) {
        const auto d = reader.next();
        if (d) {
          EXPECT_LT(d->ids.back(), 1000);
        }
      }
      FAIL() << "a thousand distributions in " << bytes.size() << " bytes";
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace frugal
