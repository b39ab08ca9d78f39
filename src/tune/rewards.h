// Rewards that rules can give: each says something of a reply, their weighted sum is what counts.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fields.h"
#include "text/regex.h"

namespace frugal {

struct RewardOptions {
  std::string answer = "number";
  double answer_weight = 1;
  std::string format;
  double format_weight = 0.2;
  int64_t length = 0;
  double length_weight = 1;
  int64_t repetition = 0;
  double repetition_weight = 1;
  std::vector<std::string> command;
  double command_weight = 1;
  double command_seconds = 60;

  void visit(FieldVisitor& v);
};
// UsageError naming `table`.key when a value is out of its range.
void check(const RewardOptions& options, std::string_view table);

// A reply to be judged.
struct RewardInput {
  std::string_view reply;
  std::string_view answer;  // that is right
  std::string_view row;     // the problem's line, a JSON object
  int64_t tokens = 0;       // of the reply
  bool ended = false;       // by itself, not for want of room
  int64_t room = 0;         // most tokens a reply may have
};

// 1 when the final number of the reply (text/final_answer.h) is the answer's, else 0.
double number_reward(std::string_view reply, std::string_view answer);
// 1 when they are the same but for white space at their ends, else 0.
double exact_reward(std::string_view reply, std::string_view answer);
// 0 up to `target` tokens, then falling evenly to -1 at `room`; -1 for a reply that did not end (the soft
// punishment of DAPO, Yu et al. 2025, eq. 13).
double length_reward(int64_t tokens, bool ended, int64_t target, int64_t room);
// Minus the share of runs of n words (by white space) that the reply has said before.
double repetition_reward(std::string_view reply, int64_t n);

class Rewards {
 public:
  // Error when the format does not compile.
  explicit Rewards(const RewardOptions& options);

  struct Scores {
    std::vector<double> totals;                         // of every reply
    std::vector<double> right;                          // the answer's part before weighing; empty without it
    std::vector<std::pair<std::string, double>> means;  // of each part that is on, before weighing
  };
  // Error when the user's command fails, takes too long, or writes something else than a number a line.
  Scores score(std::span<const RewardInput> replies) const;

 private:
  std::vector<double> ask_command(std::span<const RewardInput> replies) const;

  RewardOptions options_;
  std::optional<Regex> format_;
};

}  // namespace frugal
