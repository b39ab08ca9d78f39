#include "data/synthetic.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/json.h"
#include "data/prepare.h"
#include "data/synthetic_world.h"
#include "data_test_util.h"

namespace frugal {
namespace {

std::string flat(const Document& document) {
  std::string text = document.text;
  for (const auto& message : document.messages) text += message.role + ": " + message.content + "\n";
  return text;
}
struct Corpus {
  std::vector<Document> train, valid;
  std::string all;
};
Corpus generate(uint64_t seed, const SyntheticOptions& options) {
  Corpus corpus;
  SyntheticCorpus(seed, options)
      .generate([&](const Document& d) { corpus.train.push_back(d); },
                [&](const Document& d) { corpus.valid.push_back(d); });
  for (const auto* part : {&corpus.train, &corpus.valid}) {
    for (const auto& document : *part) corpus.all += flat(document) + "\n";
  }
  return corpus;
}
const SyntheticOptions kSmall{.train_bytes = 3 << 20, .valid_bytes = 100 << 10};

TEST(Synthetic, IsAFunctionOfTheSeedAndAllDocumentsDiffer) {
  const Corpus a = generate(1, kSmall), b = generate(1, kSmall);
  EXPECT_EQ(a.all, b.all);
  EXPECT_NE(a.all, generate(2, kSmall).all);
  std::set<std::string> texts;
  int64_t train_bytes = 0, valid_bytes = 0, chats = 0;
  for (const auto& document : a.train) {
    EXPECT_TRUE(texts.insert(flat(document)).second) << flat(document);
    train_bytes += document.bytes();
    chats += !document.messages.empty();
  }
  for (const auto& document : a.valid) {
    EXPECT_TRUE(texts.insert(flat(document)).second) << flat(document);
    valid_bytes += document.bytes();
  }
  EXPECT_NEAR(static_cast<double>(train_bytes), static_cast<double>(kSmall.train_bytes), 4000);
  EXPECT_NEAR(static_cast<double>(valid_bytes), static_cast<double>(kSmall.valid_bytes), 4000);
  EXPECT_NEAR(static_cast<double>(chats) / static_cast<double>(a.train.size()), 1.0 / 6, 0.03);
  SyntheticOptions plain = kSmall;
  plain.chats = false;
  for (const auto& document : generate(1, plain).train) ASSERT_TRUE(document.messages.empty());
}

// Positions of `part` in `text` that are not inside a longer number.
bool contains_expression(const std::string& text, const std::string& part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    const bool starts = at == 0 || std::isdigit(static_cast<unsigned char>(text[at - 1])) == 0;
    const size_t end = at + part.size();
    if (starts && (end == text.size() || std::isdigit(static_cast<unsigned char>(text[end])) == 0))
      return true;
  }
  return false;
}

TEST(Synthetic, HeldOutQuestionsAreNowhereInTheText) {
  const Corpus corpus = generate(3, kSmall);
  const auto questions = SyntheticCorpus(3, {.questions = 2000}).questions();
  ASSERT_EQ(questions.size(), 2000u);
  std::map<std::string, int> kinds;
  for (const Question& q : questions) {
    ++kinds[q.kind];
    EXPECT_TRUE(q.prompt.ends_with("\nAnswer:"));
    if (q.choices.empty()) {
      const size_t digit = q.question.find_first_of("0123456789");
      const std::string sum = q.question.substr(digit, q.question.find_last_of("0123456789") - digit + 1);
      EXPECT_FALSE(contains_expression(corpus.all, sum)) << sum;
      const std::string turned = sum.substr(5) + sum.substr(2, 3) + sum.substr(0, 2);
      EXPECT_TRUE(q.kind == "subtraction" || !contains_expression(corpus.all, turned)) << turned;
    } else {
      EXPECT_FALSE(contains(corpus.all, q.question.substr(0, q.question.find('\n')))) << q.question;
      EXPECT_EQ(std::count(q.choices.begin(), q.choices.end(), q.answer), 1);
      EXPECT_EQ(std::set<std::string>(q.choices.begin(), q.choices.end()).size(), 4u);
    }
  }
  for (const char* kind : {"fact", "reading", "addition", "subtraction"}) EXPECT_EQ(kinds[kind], 500) << kind;
}

TEST(Synthetic, PracticeAnswersInFullAndHoldsNothingBack) {
  const SyntheticCorpus corpus(3, {.questions = 400, .practice = 2000});
  const auto set = corpus.practice();
  EXPECT_EQ(set.train.size() + set.valid.size(), 2100u);
  EXPECT_NEAR(static_cast<double>(set.valid.size()), 100, 2);
  const SyntheticWorld world(3);
  std::set<std::string> held_out, passages, seen;
  for (const Question& q : corpus.questions()) {
    held_out.insert(q.prompt);
    if (q.kind == "reading") passages.insert(q.prompt.substr(0, q.prompt.find('\n')));
  }
  for (const Fact& fact : world.facts())
    held_out.insert(fmt::format("Question: {}\nAnswer:", world.question(fact, world.held_out_wording(fact))));
  int64_t sums = 0, facts = 0;
  for (const auto* part : {&set.train, &set.valid}) {
    for (const auto& [prompt, completion] : *part) {
      EXPECT_TRUE(seen.insert(prompt).second) << prompt;
      EXPECT_FALSE(held_out.contains(prompt)) << prompt;
      EXPECT_FALSE(passages.contains(prompt.substr(0, prompt.find('\n')))) << prompt;
      EXPECT_TRUE(completion.starts_with(' ') && prompt.ends_with("\nAnswer:"));
      long a = 0, b = 0;
      char sign = 0;
      const size_t last = completion.rfind("So ");
      if (last != std::string::npos &&
          std::sscanf(completion.c_str() + last, "So %ld %c %ld", &a, &sign, &b) == 3) {
        EXPECT_FALSE(is_held_out({a, b, sign == '-'})) << completion;
        ++sums;
      }
      facts += prompt.starts_with("Question: ") && completion.find('=') == std::string::npos;
    }
  }
  EXPECT_GT(sums, 600);
  EXPECT_GT(facts, 300);
  EXPECT_EQ(corpus.practice().train.front().prompt, set.train.front().prompt);
  EXPECT_TRUE(SyntheticCorpus(3).practice().train.empty());
}

// The other side of holding out: what the questions need is in the text, and the text never contradicts
// itself.
TEST(Synthetic, FactsAreStatedAskedInOtherWordingsAndConsistent) {
  const Corpus corpus = generate(3, kSmall);
  const SyntheticWorld world(3);
  for (const Fact& fact : world.facts()) {
    for (size_t wording = 0; wording < SyntheticWorld::kWordings; ++wording) {
      EXPECT_EQ(contains(corpus.all, "Question: " + world.question(fact, wording) + "\n"),
                wording != world.held_out_wording(fact))
          << world.question(fact, wording);
    }
    const std::string statement = fill(world.relations()[fact.relation].statements[0],
                                       {{"s", world.subject_name(fact)}, {"v", world.value_name(fact)}});
    EXPECT_TRUE(contains(corpus.all, statement)) << statement;
  }
  std::map<std::string, std::string> answers;
  for (const auto& document : corpus.train) {
    if (!document.text.starts_with("Question: ")) continue;
    for (size_t at = 0; (at = document.text.find("Question: ", at)) != std::string::npos;) {
      const size_t end = document.text.find('\n', at), next = document.text.find('\n', end + 1);
      const std::string question = document.text.substr(at, end - at);
      const std::string answer = document.text.substr(end + 1, next - end - 1);
      if (question.find_first_of("0123456789") == std::string::npos) {
        const auto [it, fresh] = answers.emplace(question, answer);
        EXPECT_TRUE(fresh || it->second == answer) << question;
      }
      at = next;
    }
  }
  EXPECT_EQ(answers.size(), world.facts().size() * (SyntheticWorld::kWordings - 1));
}

TEST(Synthetic, EverySumInTheTextIsRight) {
  const std::string all = generate(5, {.train_bytes = 1 << 20}).all;
  int64_t sums = 0;
  for (size_t equals = all.find(" = "); equals != std::string::npos; equals = all.find(" = ", equals + 1)) {
    size_t begin = all.find_last_not_of("0123456789+- ", equals) + 1;
    while (all[begin] == ' ') ++begin;
    long a = 0, b = 0, c = 0;
    char sign = 0;
    ASSERT_EQ(std::sscanf(all.c_str() + begin, "%ld %c %ld = %ld", &a, &sign, &b, &c), 4)
        << all.substr(begin, 40);
    EXPECT_EQ(c, sign == '+' ? a + b : a - b) << all.substr(begin, 40);
    EXPECT_GE(c, 0);
    ++sums;
  }
  EXPECT_GT(sums, 5000);
  EXPECT_EQ(sum_steps({47, 38, false}), "40 + 30 = 70, 7 + 8 = 15, 70 + 15 = 85. So 47 + 38 = 85.");
  EXPECT_EQ(sum_steps({85, 38, true}), "85 - 30 = 55, 55 - 8 = 47. So 85 - 38 = 47.");
  EXPECT_EQ(sum_steps({5, 3, false}), "5 + 3 = 8.");
  EXPECT_EQ(sum_steps({0, 0, true}), "0 - 0 = 0.");
  EXPECT_EQ(sum_steps({305, 98, false}), "300 + 90 = 390, 5 + 8 = 13, 390 + 13 = 403. So 305 + 98 = 403.");
}

TEST(Synthetic, SumsToPractiseOnAndToBeExaminedOnShareNoOperands) {
  const auto operands = [](const Question& q) {
    long a = 0, b = 0;
    char sign = 0;
    const char* digits = q.question.c_str() + q.question.find_first_of("0123456789");
    EXPECT_EQ(std::sscanf(digits, "%ld %c %ld", &a, &sign, &b), 3) << q.question;
    EXPECT_EQ(q.answer, std::to_string(sign == '+' ? a + b : a - b));
    EXPECT_TRUE(is_correct(q, " " + q.worked)) << q.worked;
    return std::tuple{std::max(a, b), std::min(a, b), sign};
  };
  std::set<std::tuple<long, long, char>> practised;
  std::map<size_t, int> lengths;
  for (const Question& q : sum_questions(3, 4000, false, 3)) {
    const auto sum = operands(q);
    practised.insert(sum);
    ++lengths[std::to_string(std::get<0>(sum)).size()];
  }
  EXPECT_EQ(lengths.size(), 3u);
  EXPECT_GT(lengths[3], 1500);
  for (const Question& q : sum_questions(3, 400, true, 3)) {
    EXPECT_FALSE(practised.contains(operands(q))) << q.question;
  }
  for (const Question& q : sum_questions(4, 100, true, 2)) EXPECT_LT(std::get<0>(operands(q)), 100);
}

TEST(Synthetic, CorrectAnswersAreRecognised) {
  const Question fact{"Question: Where?\nAnswer:", "Riverton", "fact", {"Riverton", "Oakfield"}, "Where?"};
  for (const char* good : {" Riverton", "Riverton.\n\nQuestion: What", "\n Riverton \n"})
    EXPECT_TRUE(is_correct(fact, good));
  for (const char* bad : {"", " Oakfield", " Riverton or Oakfield", "In Riverton"})
    EXPECT_FALSE(is_correct(fact, bad));
  const Question sum{"Question: What is 47 + 38?\nAnswer:", "85", "addition", {}, "What is 47 + 38?"};
  for (const char* good :
       {" 85", " 40 + 30 = 70, 7 + 8 = 15, 70 + 15 = 85. So 47 + 38 = 85.\nQuestion: What is 1 + 1?"}) {
    EXPECT_TRUE(is_correct(sum, good));
  }
  for (const char* bad : {"", " I do not know", " 185", " 47 + 38 = 84.\n85"})
    EXPECT_FALSE(is_correct(sum, bad));
}

TEST(Synthetic, WritesWhatTheDataPartReads) {
  const fs::path folder = fresh_folder();
  const SyntheticOptions options{.train_bytes = 200 << 10, .valid_bytes = 20 << 10, .questions = 40};
  const SyntheticCorpus corpus(9, options);
  corpus.write(folder);
  std::vector<std::string> expected, found;
  corpus.generate([&](const Document& d) { expected.push_back(flat(d)); }, [](const Document&) {});
  for_each_document({(folder / "train.jsonl").string()}, {}, [&](const Document& d) {
    found.push_back(flat(d));
    return true;
  });
  EXPECT_EQ(found, expected);
  const auto questions = read_questions(folder / "questions.jsonl");
  const auto made = corpus.questions();
  ASSERT_EQ(questions.size(), made.size());
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(questions[i].prompt, made[i].prompt);
    EXPECT_EQ(questions[i].answer, made[i].answer);
    EXPECT_EQ(questions[i].kind, made[i].kind);
    EXPECT_EQ(questions[i].choices, made[i].choices);
    EXPECT_EQ(questions[i].question, made[i].question);
  }
}

TEST(Synthetic, BadInput) {
  EXPECT_THROW(SyntheticCorpus(1, {.train_bytes = 0}), UsageError);
  EXPECT_THROW(SyntheticCorpus(1, {.questions = -1}), UsageError);
  const fs::path path = fresh_folder() / "q.jsonl";
  write_file_atomically(path, "{\"prompt\": \"a\", \"answer\": \"b\"}\n{\"prompt\": 3}\n");
  EXPECT_CONTAINS(error_of([&] { read_questions(path); }), "q.jsonl:2: expected an object");
  write_file_atomically(path, "{");
  EXPECT_CONTAINS(error_of([&] { read_questions(path); }), "q.jsonl:1: not valid JSON");
}

}  // namespace
}  // namespace frugal
