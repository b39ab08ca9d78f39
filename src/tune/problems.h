// What a model practises on: prompts whose replies can be judged by rules. A line of JSON Lines is a problem:
//
//   {"prompt": "text" or [{"role", "content"}, ...], "answer": "text" or a number, ...}
//
// "question" stands for a prompt of one user's message. Further fields reach the user's own judge.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "data/source.h"
#include "tune/example.h"
#include "tune/options.h"

namespace frugal {

struct Problem {
  std::string messages_json;  // a list of messages; empty for plain text
  std::string text;           // the prompt as plain text
  std::string answer;
  std::string row;    // the line
  std::string where;  // FILE:LINE, for errors
};

// Errors start with FILE:LINE and name the field. `needs_answer`: a line without one is an error.
Problem parse_problem(const Record& record, bool needs_answer);
std::vector<Problem> read_problems(const std::vector<std::string>& patterns, std::string_view where,
                                   bool needs_answer);
// `data.sums` of the recipe: sums made on the spot (data/synthetic.h), as a chat or as plain text; for
// validation 200 others. As problems, and as examples with the steps written out.
std::vector<Problem> sum_problems(const TuneData& data, uint64_t seed, bool valid, bool chat);
std::vector<Example> sum_examples(const TuneData& data, uint64_t seed, bool valid, bool chat);

}  // namespace frugal
