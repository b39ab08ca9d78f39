// Losses of preferences and policies and their gradients, against PyTorch (tools/make_tune_golden.py).
#include "models/golden.h"
#include "tune/policy.h"
#include "tune/preference.h"

namespace frugal {
namespace {

void expect_near(double got, float expected) {
  EXPECT_NEAR(got, static_cast<double>(expected),
              1e-5 * std::max(1.0, std::abs(static_cast<double>(expected))));
}

TEST(TuneGolden, Preferences) {
  const SafetensorsFile file(golden_path("tune/losses.safetensors"));
  const std::vector<float> sums = floats(file, "pairs.sums"), lengths = floats(file, "pairs.lengths");
  const size_t pairs = sums.size() / 4;
  ASSERT_EQ(pairs, 8u);
  for (const auto& [name, kind] : {std::pair<std::string, PreferenceLoss>{"sigmoid", PreferenceLoss::sigmoid},
                                   {"ipo", PreferenceLoss::ipo}}) {
    const std::vector<float> losses = floats(file, name + ".losses"),
                             slopes = floats(file, name + ".gradients");
    for (size_t i = 0; i < pairs; ++i) {
      const auto at = [&](size_t row) { return static_cast<double>(sums[row * pairs + i]); };
      const auto length = [&](size_t row) { return static_cast<int64_t>(lengths[row * pairs + i]); };
      const PairLoss got = pair_loss(kind, 0.3, {at(0), length(0)}, {at(1), length(1)}, at(2), at(3));
      expect_near(got.loss, losses[i]);
      expect_near(got.chosen_gradient, slopes[i]);
      expect_near(got.rejected_gradient, slopes[pairs + i]);
    }
  }
}

TEST(TuneGolden, Policies) {
  const SafetensorsFile file(golden_path("tune/losses.safetensors"));
  const std::vector<float> tokens = floats(file, "policy.tokens"), losses = floats(file, "policy.losses"),
                           kl = floats(file, "policy.kl"), slopes = floats(file, "policy.gradients");
  const size_t count = tokens.size() / 4;
  ASSERT_EQ(count, 64u);
  size_t clipped = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto at = [&](size_t row) { return static_cast<double>(tokens[row * count + i]); };
    const TokenLoss got = token_loss(at(0), at(1), at(2), at(3), {0.2, 0.28, 0.05});
    expect_near(got.loss, losses[i]);
    expect_near(got.kl, kl[i]);
    expect_near(got.gradient, slopes[i]);
    clipped += got.clipped;
  }
  EXPECT_GT(clipped, 5u);
  EXPECT_LT(clipped, 59u);
}

TEST(TuneGolden, Advantages) {
  const SafetensorsFile file(golden_path("tune/losses.safetensors"));
  const std::vector<float> rewards = floats(file, "group.rewards"),
                           expected = floats(file, "group.advantages");
  const std::vector<double> got =
      group_advantages(std::vector<double>(rewards.begin(), rewards.end()), 6, true);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], static_cast<double>(expected[i]), 1e-4) << i;
}

}  // namespace
}  // namespace frugal
