// The formulas of preferences and policies, against plain ones and against differences.
#include "tune/policy.h"

#include <functional>

#include "tune/preference.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

double slope(const std::function<double(double)>& f, double x) {
  return (f(x + 1e-6) - f(x - 1e-6)) / 2e-6;
}

TEST(PairLosses, ValuesAndGradients) {
  const ReplyLogProb chosen{-7.25, 5}, rejected{-6.5, 3};
  for (const auto kind : {PreferenceLoss::sigmoid, PreferenceLoss::ipo}) {
    const double beta = 0.3;
    const auto at = [&](double c, double r) {
      return pair_loss(kind, beta, {c, chosen.tokens}, {r, rejected.tokens}, -8.0, -6.0);
    };
    const PairLoss got = at(chosen.sum, rejected.sum);
    const double h = kind == PreferenceLoss::sigmoid ? 0.75 + 0.5 : 0.75 / 5 + 0.5 / 3;
    const double expected = kind == PreferenceLoss::sigmoid ? -std::log(1 / (1 + std::exp(-beta * h)))
                                                            : std::pow(h - 1 / (2 * beta), 2);
    EXPECT_NEAR(got.loss, expected, 1e-12);
    EXPECT_NEAR(got.chosen_gradient, slope([&](double x) { return at(x, rejected.sum).loss; }, chosen.sum),
                1e-7);
    EXPECT_NEAR(got.rejected_gradient, slope([&](double x) { return at(chosen.sum, x).loss; }, rejected.sum),
                1e-7);
    EXPECT_NEAR(got.chosen_reward, 0.225, 1e-12);
    EXPECT_NEAR(got.rejected_reward, -0.15, 1e-12);
  }
  // Far from balance: no overflow.
  EXPECT_NEAR(pair_loss(PreferenceLoss::sigmoid, 1, {-2000, 1}, {0, 1}, 0, 0).loss, 2000, 1e-9);
  EXPECT_NEAR(pair_loss(PreferenceLoss::sigmoid, 1, {0, 1}, {-2000, 1}, 0, 0).loss, 0, 1e-9);
}

TEST(Policy, ATokensLossAndGradient) {
  const PolicyBounds bounds{0.2, 0.28, 0.05};
  for (const double advantage : {1.5, -0.7, 0.0}) {
    for (const double now : {-1.0, -1.1, -0.5, -2.0}) {
      const auto at = [&](double x) { return token_loss(x, -1.0, -1.3, advantage, bounds); };
      const double ratio = std::exp(now + 1.0), away = std::exp(-1.3 - now);
      const double kl = away - std::log(away) - 1;
      const double expected =
          -std::min(ratio * advantage, std::min(std::max(ratio, 0.8), 1.28) * advantage) + 0.05 * kl;
      EXPECT_NEAR(at(now).loss, expected, 1e-12);
      EXPECT_NEAR(at(now).kl, kl, 1e-12);
      EXPECT_NEAR(at(now).gradient, slope([&](double x) { return at(x).loss; }, now), 1e-6)
          << advantage << " " << now;
    }
  }
  EXPECT_TRUE(token_loss(-0.5, -1, 0, 1, bounds).clipped);    // gained enough
  EXPECT_FALSE(token_loss(-0.5, -1, 0, -1, bounds).clipped);  // a bad one that gained is taken back
  EXPECT_TRUE(token_loss(-2, -1, 0, -1, bounds).clipped);
}

TEST(Policy, AdvantagesAreWithinTheGroup) {
  const std::vector<double> rewards = {1, 0, 0, 0, 2, 2, 2, 2};
  const auto scaled = group_advantages(rewards, 4, true), plain = group_advantages(rewards, 4, false);
  EXPECT_NEAR(scaled[0], 0.75 / (0.5 + 1e-4), 1e-12);
  EXPECT_NEAR(scaled[1], -0.25 / (0.5 + 1e-4), 1e-12);
  EXPECT_NEAR(plain[0], 0.75, 1e-12);
  EXPECT_NEAR(plain[3], -0.25, 1e-12);
  for (size_t i = 4; i < 8; ++i) EXPECT_EQ(scaled[i], 0);
  EXPECT_EQ(silent_groups(rewards, 4), 0.5);
}

TEST(Preferences, LayoutsAndMistakes) {
  const auto parse = [](const std::string& text) { return parse_preference({text, "d.jsonl", 2, true}); };
  const Preference plain = parse(R"({"prompt": "p", "chosen": "a", "rejected": "b"})");
  EXPECT_EQ(plain.chosen.prompt + plain.chosen.completion, "pa");
  EXPECT_EQ(plain.rejected.prompt + plain.rejected.completion, "pb");
  const std::string user = R"({"role":"user","content":"q"})";
  const std::string good = R"({"role":"assistant","content":"a"})",
                    bad = R"({"role":"assistant","content":"b"})";
  for (const std::string& row :
       {R"({"prompt":[)" + user + R"(],"chosen":[)" + good + R"(],"rejected":[)" + bad + "]}",
        R"({"prompt":[)" + user + R"(],"chosen":"a","rejected":"b"})",
        R"({"chosen":[)" + user + "," + good + R"(],"rejected":[)" + user + "," + bad + "]}",
        R"({"prompt":"q","chosen":[)" + user + "," + good + R"(],"rejected":[)" + user + "," + bad + "]}"}) {
    const Preference chat = parse(row);
    EXPECT_EQ(chat.chosen.messages_json, "[" + user + "," + good + "]") << row;
    EXPECT_EQ(chat.rejected.messages_json, "[" + user + "," + bad + "]") << row;
    EXPECT_EQ(chat.chosen.learnt_from, 1u);
  }
  const auto mistake = [&](const std::string& text) { return error_of([&] { parse(text); }); };
  EXPECT_EQ(mistake(R"({"prompt": "p", "chosen": "a"})"), "d.jsonl:2: \"rejected\" is missing");
  EXPECT_EQ(mistake(R"({"chosen": "a", "rejected": "b"})"), "d.jsonl:2: \"prompt\" is missing");
  EXPECT_NE(mistake(R"({"prompt": "p", "chosen": 1, "rejected": "b"})").find("\"chosen\" should be"),
            std::string::npos);
  EXPECT_NE(mistake(R"({"prompt": "p", "chosen": "", "rejected": "b"})")
                .find("(\"completion\" is \"chosen\" here)"),
            std::string::npos);
  EXPECT_NE(mistake(R"({"chosen":[)" + good + R"(],"rejected":[)" + good + "]}").find("nothing to prefer"),
            std::string::npos);
}

}  // namespace
}  // namespace frugal
