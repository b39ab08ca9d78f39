#include "tune/problems.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "data/synthetic.h"

namespace frugal {
namespace {

void check_messages(const Json& list, const std::string& where) {
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& message = list[i];
    for (const char* key : {"role", "content"}) {
      if (!message.is_object() || !message.contains(key) || !message[key].is_string()) {
        fail("{}: prompt[{}]: expected an object with texts \"role\" and \"content\"", where, i);
      }
    }
  }
  if (list.empty()) fail("{}: \"prompt\" has no messages", where);
}

Json user_says(const std::string& text) {
  return Json::array({{{"role", "user"}, {"content", text}}});
}

std::vector<Question> sums_of(const TuneData& data, uint64_t seed, bool valid) {
  constexpr int64_t kValidation = 200;
  return sum_questions(seed, valid ? kValidation : data.sums, valid, data.digits);
}

}  // namespace

Problem parse_problem(const Record& record, bool needs_answer) {
  const std::string where = fmt::format("{}:{}", record.file, record.line);
  if (!record.json) {
    fail("{}: problems are JSON Lines (.jsonl): an object with \"prompt\" and \"answer\" a line",
         record.file);
  }
  const Json row = parse_json(record.body, where);
  if (!row.is_object()) fail("{}: expected an object", where);
  Problem problem{{}, {}, {}, to_text(row), where};
  if (const auto prompt = row.find("prompt"); prompt != row.end()) {
    if (prompt->is_array()) {
      check_messages(*prompt, where);
      problem.messages_json = to_text(*prompt);
    } else if (prompt->is_string()) {
      problem.text = prompt->get<std::string>();
    } else {
      fail("{}: \"prompt\" should be a text or a list of {{\"role\", \"content\"}}, it is {}", where,
           prompt->type_name());
    }
  } else if (row.contains("question") && row["question"].is_string()) {
    problem.messages_json = to_text(user_says(row["question"].get<std::string>()));
  } else {
    fail("{}: \"prompt\" is missing", where);
  }
  if (const auto answer = row.find("answer"); answer != row.end() && !answer->is_null()) {
    if (!answer->is_string() && !answer->is_number()) {
      fail("{}: \"answer\" should be a text or a number, it is {}", where, answer->type_name());
    }
    problem.answer = answer->is_string() ? answer->get<std::string>() : to_text(*answer);
  } else if (needs_answer) {
    fail("{}: \"answer\" is missing; without answers set grpo.reward.answer = \"none\"", where);
  }
  return problem;
}

std::vector<Problem> read_problems(const std::vector<std::string>& patterns, std::string_view where,
                                   bool needs_answer) {
  RecordReader reader(expand_patterns(patterns, where));
  std::vector<Problem> problems;
  Record record;
  while (reader.next(record)) problems.push_back(parse_problem(record, needs_answer));
  if (problems.empty()) fail("{}: {} holds no problems", where, fmt::join(patterns, ", "));
  return problems;
}

std::vector<Problem> sum_problems(const TuneData& data, uint64_t seed, bool valid, bool chat) {
  std::vector<Problem> problems;
  for (const Question& question : sums_of(data, seed, valid)) {
    Json prompt = chat ? user_says(question.question) : Json(question.prompt);
    problems.push_back({chat ? to_text(prompt) : "", chat ? "" : question.prompt, question.answer,
                        to_text(Json{{"prompt", prompt}, {"answer", question.answer}}), "data.sums"});
  }
  return problems;
}

std::vector<Example> sum_examples(const TuneData& data, uint64_t seed, bool valid, bool chat) {
  std::vector<Example> examples;
  Rng rng(seed, hash64("sums worked out"));
  for (const Question& question : sums_of(data, seed, valid)) {
    const std::string says = rng.uniform() < data.worked ? question.worked : question.answer + ".";
    Example example{.where = "data.sums"};
    if (chat) {
      Json messages = user_says(question.question);
      messages.push_back({{"role", "assistant"}, {"content", says}});
      example.messages_json = to_text(messages);
    } else {
      example.prompt = question.prompt;
      example.completion = " " + says + "\n";
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

}  // namespace frugal
