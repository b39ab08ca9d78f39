#include "data/synthetic.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/rng.h"
#include "data/clean.h"
#include "data/hash.h"
#include "data/synthetic_world.h"

namespace frugal {
namespace {

std::string trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

std::string last_number(std::string_view text) {
  const size_t end = text.find_last_of("0123456789");
  if (end == std::string_view::npos) return {};
  size_t begin = end;
  while (begin > 0 && text[begin - 1] >= '0' && text[begin - 1] <= '9') --begin;
  return std::string(text.substr(begin, end - begin + 1));
}

Document make_document(const SyntheticWorld& world, Rng& rng, bool chats) {
  Document document;
  const uint64_t dice = rng.below(24);
  if (dice < 6) {
    document.text = question_text(world, rng);
  } else if (dice < 11) {
    document.text = sums_text(world, rng);
  } else if (dice < 15) {
    document.text = profile_text(world, rng);
  } else if (dice < 17) {
    document.text = reading_text(world, rng);
  } else if (dice < 20 || !chats) {
    document.text = story_text(world, rng) + "\n";
  } else {
    document.messages = chat_messages(world, rng);
  }
  return document;
}

Json to_json(const Document& document) {
  if (document.messages.empty()) return {{"text", document.text}};
  Json messages = Json::array();
  for (const auto& message : document.messages)
    messages.push_back({{"role", message.role}, {"content", message.content}});
  return {{"messages", std::move(messages)}};
}

}  // namespace

bool is_correct(const Question& question, std::string_view continuation) {
  const std::string text = trim(continuation);
  std::string line = trim(text.substr(0, text.find('\n')));
  if (question.choices.empty()) return last_number(line) == question.answer;
  if (line.ends_with('.')) line.pop_back();
  return line == question.answer;
}

SyntheticCorpus::SyntheticCorpus(uint64_t seed, SyntheticOptions options)
    : seed_(seed), options_(options), world_(std::make_unique<SyntheticWorld>(seed)) {
  if (options.train_bytes < 1 || options.valid_bytes < 0 || options.questions < 0 || options.practice < 0) {
    fail_usage(
        "synthetic corpus of {} bytes for training, {} for validation, {} questions, {} to practise on: "
        "expected sizes above zero",
        options.train_bytes, options.valid_bytes, options.questions, options.practice);
  }
}
SyntheticCorpus::~SyntheticCorpus() = default;

void SyntheticCorpus::generate(const Sink& train, const Sink& valid) const {
  HashSet seen;
  const auto part = [&](const char* name, int64_t bytes, const Sink& sink) {
    const uint64_t stream = hash64(name);
    for (uint64_t i = 0; bytes > 0; ++i) {
      Rng rng(seed_, stream + i);
      const Document document = make_document(*world_, rng, options_.chats);
      if (!seen.insert(hash128(to_text(to_json(document))))) continue;
      sink(document);
      bytes -= document.bytes();
    }
  };
  part("train", options_.train_bytes, train);
  part("valid", options_.valid_bytes, valid);
}

std::vector<Question> SyntheticCorpus::questions() const {
  std::vector<Question> questions;
  Rng rng(seed_, hash64("questions"));
  const auto add = [&](std::string before, std::string question, std::string answer, const char* kind,
                       std::vector<std::string> choices) {
    std::string prompt = fmt::format("{}Question: {}\nAnswer:", before, question);
    questions.push_back(
        {std::move(prompt), std::move(answer), kind, std::move(choices), before + question, ""});
  };
  std::vector<Fact> facts = world_->facts();
  shuffle(rng, facts);
  for (int64_t i = 0; i < options_.questions; ++i) {
    const auto turn = static_cast<size_t>(i / 4);
    if (i % 4 == 0) {
      const Fact& fact = facts[turn % facts.size()];
      std::vector<std::string> choices{std::string(world_->value_name(fact))};
      while (choices.size() < 4) {
        const std::string other(pick(rng, world_->relations()[fact.relation].values));
        if (std::find(choices.begin(), choices.end(), other) == choices.end()) choices.push_back(other);
      }
      shuffle(rng, choices);
      add("", world_->question(fact, world_->held_out_wording(fact)), std::string(world_->value_name(fact)),
          "fact", std::move(choices));
    } else if (i % 4 == 1) {
      Reading reading = make_reading(*world_, rng);
      Reading::Ask& ask = reading.asks[turn % reading.asks.size()];
      add(reading.passage + "\n", ask.question, ask.answer, "reading", std::move(ask.choices));
    } else {
      Sum sum = random_sum(rng, true);
      while (sum.minus != (i % 4 == 3)) sum = random_sum(rng, true);
      add("", sum_question(sum, rng), std::to_string(sum.result()), sum.minus ? "subtraction" : "addition",
          {});
    }
  }
  return questions;
}

SyntheticCorpus::PracticeSet SyntheticCorpus::practice() const {
  PracticeSet out;
  const int64_t total = options_.practice + (options_.practice + 19) / 20;
  HashSet seen;
  std::set<std::string> held_out;  // passages
  for (const Question& question : questions()) {
    seen.insert(hash128(question.prompt));
    if (question.kind == "reading") held_out.insert(question.prompt.substr(0, question.prompt.find('\n')));
  }
  Rng rng(seed_, hash64("practice"));
  const auto make = [&](int64_t kind) -> Practice {
    const auto prompt = [](const std::string& question) {
      return fmt::format("Question: {}\nAnswer:", question);
    };
    if (kind == 0) {
      const Fact& fact = world_->random_fact(rng);
      return {prompt(world_->training_question(fact, rng)), fmt::format(" {}", world_->value_name(fact))};
    }
    if (kind == 1) {
      Reading reading = make_reading(*world_, rng);
      while (held_out.contains(reading.passage)) reading = make_reading(*world_, rng);
      const Reading::Ask& ask = reading.asks[rng.below(reading.asks.size())];
      return {reading.passage + "\n" + prompt(ask.question), " " + ask.answer};
    }
    Sum sum = random_sum(rng, false);
    while (sum.minus != (kind == 3)) sum = random_sum(rng, false);
    return {prompt(sum_question(sum, rng)), " " + sum_steps(sum)};
  };
  // The world has only so many facts: when new ones do not come any more the other kinds take their place.
  constexpr int kTries = 50;
  for (int64_t i = 0; i < total; ++i) {
    Practice next;
    int tries = 0;
    do {
      next = make(tries < kTries ? i % 4 : 1 + tries % 3);
    } while (!seen.insert(hash128(next.prompt)) && ++tries < 4 * kTries);
    if (tries == 4 * kTries) break;
    (i % 21 == 20 || i + 1 == total ? out.valid : out.train).push_back(std::move(next));
  }
  return out;
}

std::vector<Question> sum_questions(uint64_t seed, int64_t count, bool held_out, int64_t digits) {
  std::vector<Question> questions;
  Rng rng(seed, hash64(held_out ? "sums held out" : "sums"));
  for (int64_t i = 0; i < count; ++i) {
    const Sum sum = random_sum(rng, held_out, digits);
    const std::string question = sum_question(sum, rng);
    questions.push_back({fmt::format("Question: {}\nAnswer:", question),
                         std::to_string(sum.result()),
                         sum.minus ? "subtraction" : "addition",
                         {},
                         question,
                         sum_steps(sum)});
  }
  return questions;
}

void SyntheticCorpus::write(const fs::path& folder) const {
  make_directories(folder);
  AtomicFile train(folder / "train.jsonl"), valid(folder / "valid.jsonl");
  const auto into = [](AtomicFile& file) {
    return [&file](const Document& document) { file.write(to_text(to_json(document)) + "\n"); };
  };
  generate(into(train), into(valid));
  AtomicFile questions_file(folder / "questions.jsonl");
  for (const Question& q : questions()) {
    questions_file.write(to_text(Json{{"prompt", q.prompt},
                                      {"answer", q.answer},
                                      {"kind", q.kind},
                                      {"choices", q.choices},
                                      {"question", q.question}}) +
                         "\n");
  }
  train.commit();
  valid.commit();
  questions_file.commit();
  if (options_.practice == 0) return;
  const PracticeSet set = practice();
  const auto save = [&](const char* name, const std::vector<Practice>& list) {
    AtomicFile file(folder / name);
    for (const Practice& p : list)
      file.write(to_text(Json{{"prompt", p.prompt}, {"completion", p.completion}}) + "\n");
    file.commit();
  };
  save("practice.jsonl", set.train);
  save("practice_valid.jsonl", set.valid);
}

std::vector<Question> read_questions(const fs::path& path) {
  std::vector<Question> questions;
  const std::string content = read_file(path);
  int64_t number = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    const std::string where = fmt::format("{}:{}", path.string(), ++number);
    if (line.empty()) continue;
    const Json json = parse_json(line, where);
    try {
      Question q{json.at("prompt").get<std::string>(),
                 json.at("answer").get<std::string>(),
                 json.value("kind", ""),
                 {},
                 json.value("question", "")};
      if (json.contains("choices")) q.choices = json.at("choices").get<std::vector<std::string>>();
      questions.push_back(std::move(q));
    } catch (const nlohmann::json::exception&) {
      fail("{}: expected an object with the strings \"prompt\" and \"answer\"", where);
    }
  }
  return questions;
}

}  // namespace frugal
