#include "tune/rewards.h"

#include "tune/problems.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

TEST(Reward, RulesOfOneReply) {
  EXPECT_EQ(number_reward("so 3.50", "3.5"), 1);
  EXPECT_EQ(number_reward("so 35", "3.5"), 0);
  EXPECT_EQ(number_reward("", "3"), 0);
  EXPECT_EQ(number_reward("x", "y"), 0);
  EXPECT_EQ(number_reward("\\boxed{1,193} in 2 steps", "1193.0"), 1);
  EXPECT_EQ(exact_reward(" Paris\n", "Paris"), 1);
  EXPECT_EQ(exact_reward("Paris.", "Paris"), 0);
  EXPECT_EQ(length_reward(10, true, 10, 20), 0);
  EXPECT_EQ(length_reward(15, true, 10, 20), -0.5);
  EXPECT_EQ(length_reward(20, false, 10, 20), -1);
  EXPECT_EQ(repetition_reward("a b a b a", 2), -0.5);  // ab ba ab ba
  EXPECT_EQ(repetition_reward("a b c", 2), 0);
  EXPECT_EQ(repetition_reward("a", 2), 0);
}

TEST(Reward, PartsAreWeighed) {
  RewardOptions options{.answer = "number", .answer_weight = 2, .format = "^So", .format_weight = 0.5};
  options.repetition = 1;
  const std::vector<RewardInput> replies = {{"So 4 4", "4", "{}", 3, true, 8}, {"5", "4", "{}", 1, true, 8}};
  const Rewards::Scores scores = Rewards(options).score(replies);
  EXPECT_NEAR(scores.totals[0], 2 + 0.5 - 1.0 / 3, 1e-12);
  EXPECT_EQ(scores.totals[1], 0);
  EXPECT_EQ(scores.right, (std::vector<double>{1, 0}));
  ASSERT_EQ(scores.means.size(), 3u);
  EXPECT_EQ(scores.means[1], (std::pair<std::string, double>{"format", 0.5}));
}

TEST(Reward, TheUsersOwnJudge) {
  const std::vector<RewardInput> replies = {{"a \"b\"", "4", R"({"prompt":"p","answer":4})", 2, true, 8},
                                            {"\xff", "5", R"({"prompt":"q","kind":"k"})", 1, false, 8}};
  const auto score = [&](const std::string& program, double seconds = 30) {
    RewardOptions options{.answer = "none"};
    options.command = {"sh", "-c", program};
    options.command_weight = 10;
    options.command_seconds = seconds;
    return Rewards(options).score(replies).totals;
  };
  const std::string read = "while read -r line; do ";
  EXPECT_EQ(
      score(read + "case $line in *'\"reply\":\"a \\\"b\\\"\",\"tokens\":2,\"ended\":true'*) echo 0.5;; "
                   "*'\"kind\":\"k\"'*) echo -1;; esac; done"),
      (std::vector<double>{5, -10}));
  EXPECT_NE(
      error_of([&] { score("cat >/dev/null; echo 1; echo good"); }).find("line 2 of its output is 'good'"),
      std::string::npos);
  EXPECT_NE(error_of([&] { score("cat >/dev/null; echo 1"); }).find("read 2 lines and wrote 1"),
            std::string::npos);
  EXPECT_NE(error_of([&] { score("cat >/dev/null; echo nan; echo 1"); }).find("expected a number"),
            std::string::npos);
  EXPECT_NE(error_of([&] { score("exit 4"); }).find("grpo.reward.command: sh -c exit 4: ended with status 4"),
            std::string::npos);
  EXPECT_NE(error_of([&] { score("sleep 60", 0.05); }).find("has not ended"), std::string::npos);
}

TEST(Reward, OptionsAreChecked) {
  EXPECT_THROW(check(RewardOptions{.answer = "maths"}, "r"), UsageError);
  EXPECT_THROW(check(RewardOptions{.answer = "none"}, "r"), UsageError);
  EXPECT_THROW(Rewards(RewardOptions{.format = "("}), Error);
}

TEST(Problems, LayoutsAndMistakes) {
  const auto parse = [](const std::string& text, bool answer = true) {
    return parse_problem({text, "p.jsonl", 3, true}, answer);
  };
  EXPECT_EQ(parse(R"({"prompt": "2+2=", "answer": 4})").answer, "4");
  EXPECT_EQ(parse(R"({"prompt": "2+2=", "answer": "4"})").text, "2+2=");
  EXPECT_EQ(parse(R"({"question": "2+2?", "answer": "4"})").messages_json,
            R"([{"role":"user","content":"2+2?"}])");
  EXPECT_EQ(parse(R"({"prompt": [{"role": "user", "content": "x"}]})", false).messages_json,
            R"([{"role":"user","content":"x"}])");
  const auto mistake = [&](const std::string& text) { return error_of([&] { parse(text); }); };
  EXPECT_EQ(mistake(R"({"answer": 4})"), "p.jsonl:3: \"prompt\" is missing");
  EXPECT_NE(mistake(R"({"prompt": "x"})").find("p.jsonl:3: \"answer\" is missing"), std::string::npos);
  EXPECT_NE(mistake(R"({"prompt": 3, "answer": 1})").find("it is number"), std::string::npos);
  EXPECT_NE(mistake(R"({"prompt": [], "answer": 1})").find("no messages"), std::string::npos);
  EXPECT_NE(mistake(R"({"prompt": [{"role": "user"}], "answer": 1})").find("prompt[0]"), std::string::npos);
  EXPECT_NE(mistake(R"({"prompt": "x", "answer": []})").find("\"answer\" should be"), std::string::npos);
}

// What is practised is never what is examined, whatever the order of the operands.
TEST(Problems, SumsOfPracticeAndExaminationAreDisjoint) {
  TuneData data;
  data.sums = 400;
  const auto train = sum_problems(data, 1, false, true), valid = sum_problems(data, 1, true, true);
  EXPECT_EQ(train.size(), 400u);
  const auto operands = [](const Problem& problem) {
    std::multiset<std::string> numbers;
    std::string number;
    for (const char c : problem.messages_json + " ") {
      if (c >= '0' && c <= '9') {
        number += c;
      } else if (!number.empty()) {
        numbers.insert(number);
        number.clear();
      }
    }
    numbers.insert(problem.messages_json.find(" + ") != std::string::npos ? "+" : "-");
    return numbers;
  };
  std::set<std::multiset<std::string>> practised;
  for (const Problem& problem : train) practised.insert(operands(problem));
  for (const Problem& problem : valid) {
    EXPECT_EQ(operands(problem).size(), 3u);
    EXPECT_FALSE(practised.contains(operands(problem))) << problem.messages_json;
  }
  EXPECT_EQ(sum_problems(data, 1, false, false)[0].text.substr(0, 10), "Question: ");
  // The same sums worked out, as examples.
  const auto worked = sum_examples(data, 1, false, true), plain = sum_examples(data, 1, false, false);
  ASSERT_EQ(worked.size(), train.size());
  for (size_t i = 0; i < worked.size(); ++i) {
    const Json messages = parse_json(worked[i].messages_json, "messages");
    EXPECT_EQ(to_text(Json::array({messages[0]})), train[i].messages_json);
    EXPECT_TRUE(messages[1]["content"].get<std::string>().ends_with(" = " + train[i].answer + "."));
    EXPECT_EQ(" " + messages[1]["content"].get<std::string>() + "\n", plain[i].completion);
    EXPECT_EQ(plain[i].prompt.substr(0, 10), "Question: ");
  }
  // Some of them, and the others at once.
  data.worked = 0.25;
  const auto some = sum_examples(data, 1, false, false);
  ASSERT_EQ(some.size(), train.size());
  int64_t steps = 0;
  for (size_t i = 0; i < some.size(); ++i) {
    const bool at_once = some[i].completion == " " + train[i].answer + ".\n";
    EXPECT_TRUE(at_once || some[i].completion == plain[i].completion);
    steps += !at_once;
  }
  EXPECT_NEAR(static_cast<double>(steps) / static_cast<double>(some.size()), 0.25, 0.1);
}

}  // namespace
}  // namespace frugal
