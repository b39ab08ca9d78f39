#include "tune/rewards.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/subprocess.h"
#include "core/utf8.h"
#include "text/final_answer.h"

namespace frugal {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

}  // namespace

void RewardOptions::visit(FieldVisitor& v) {
  v.field("answer", answer,
          "grpo: 1 for the right answer: number (the reply's final number), exact (the whole reply) or none");
  v.field("answer_weight", answer_weight, "grpo: of the answer");
  v.field("format", format,
          "grpo: 1 where this regular expression is found in the reply; empty: not asked for");
  v.field("format_weight", format_weight, "grpo: of the format");
  v.field("length", length,
          "grpo: tokens from which on a reply loses, down to -1 at grpo.max_tokens; 0: never");
  v.field("length_weight", length_weight, "grpo: of the length");
  v.field("repetition", repetition,
          "grpo: minus the share of repeated runs of so many words; 0: not counted");
  v.field("repetition_weight", repetition_weight, "grpo: of the repetition");
  v.field("command", command,
          "grpo: your own judge, program and arguments: reads a JSON object a line, writes a number a line");
  v.field("command_weight", command_weight, "grpo: of the command's numbers");
  v.field("command_seconds", command_seconds, "grpo: that the command may take for the replies of a step");
}

void check(const RewardOptions& o, std::string_view table) {
  if (o.answer != "number" && o.answer != "exact" && o.answer != "none") {
    fail_usage("{}.answer = '{}': expected number, exact or none", table, o.answer);
  }
  const auto between = [&](const char* key, double value, double low, double high) {
    if (!(value >= low && value <= high)) {
      fail_usage("{}.{} = {}: expected {} to {}", table, key, value, low, high);
    }
  };
  for (const auto& [key, weight] : {std::pair{"answer_weight", o.answer_weight},
                                    {"format_weight", o.format_weight},
                                    {"length_weight", o.length_weight},
                                    {"repetition_weight", o.repetition_weight},
                                    {"command_weight", o.command_weight}}) {
    between(key, weight, -1e6, 1e6);
  }
  between("length", static_cast<double>(o.length), 0, 1e9);
  between("repetition", static_cast<double>(o.repetition), 0, 1000);
  between("command_seconds", o.command_seconds, 1e-3, 1e6);
  if (o.answer == "none" && o.format.empty() && o.length == 0 && o.repetition == 0 && o.command.empty()) {
    fail_usage("{}: nothing is rewarded; set answer, format, length, repetition or command", table);
  }
}

double number_reward(std::string_view reply, std::string_view answer) {
  const std::string right = final_number(answer);
  return !right.empty() && final_number(reply) == right ? 1 : 0;
}

double exact_reward(std::string_view reply, std::string_view answer) {
  return trimmed(reply) == trimmed(answer) ? 1 : 0;
}

double length_reward(int64_t tokens, bool ended, int64_t target, int64_t room) {
  if (!ended) return -1;
  if (tokens <= target) return 0;
  if (room <= target) return -1;
  return -std::min(1.0, static_cast<double>(tokens - target) / static_cast<double>(room - target));
}

double repetition_reward(std::string_view reply, int64_t n) {
  std::vector<std::string> words;
  std::istringstream stream{std::string(reply)};
  for (std::string word; stream >> word;) words.push_back(word);
  if (std::ssize(words) < n) return 0;
  std::set<std::vector<std::string>> seen;
  const auto runs = std::ssize(words) - n + 1;
  for (ptrdiff_t i = 0; i < runs; ++i) seen.emplace(words.begin() + i, words.begin() + i + n);
  return static_cast<double>(std::ssize(seen)) / static_cast<double>(runs) - 1;
}

Rewards::Rewards(const RewardOptions& options) : options_(options) {
  if (!options.format.empty()) format_.emplace(options.format);
}

std::vector<double> Rewards::ask_command(std::span<const RewardInput> replies) const {
  std::string input;
  for (const RewardInput& reply : replies) {
    Json line = parse_json(reply.row, "a problem");
    line["reply"] = replace_invalid_utf8(reply.reply);
    line["tokens"] = reply.tokens;
    line["ended"] = reply.ended;
    input += to_text(line) + "\n";
  }
  std::string output;
  try {
    output = run_subprocess(options_.command, input, options_.command_seconds);
  } catch (const Error& error) {
    fail("grpo.reward.command: {}", error.what());
  }
  std::vector<double> rewards;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    const std::string_view text = trimmed(line);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
      fail("grpo.reward.command: line {} of its output is '{}', expected a number", rewards.size() + 1,
           line.substr(0, 80));
    }
    rewards.push_back(value);
  }
  if (rewards.size() != replies.size()) {
    fail("grpo.reward.command: it read {} lines and wrote {}, expected a number for each", replies.size(),
         rewards.size());
  }
  return rewards;
}

Rewards::Scores Rewards::score(std::span<const RewardInput> replies) const {
  Scores scores;
  scores.totals.assign(replies.size(), 0);
  const auto add = [&](const char* name, double weight, const std::vector<double>& values) {
    for (size_t i = 0; i < values.size(); ++i) scores.totals[i] += weight * values[i];
    scores.means.emplace_back(name, mean_of(values));
  };
  const auto each = [&](const char* name, double weight, auto&& judge) {
    std::vector<double> values;
    for (const RewardInput& reply : replies) values.push_back(judge(reply));
    add(name, weight, values);
    return values;
  };
  const RewardOptions& o = options_;
  if (o.answer != "none") {
    const auto judge = o.answer == "exact" ? exact_reward : number_reward;
    scores.right = each("right answers", o.answer_weight,
                        [&](const RewardInput& r) { return judge(r.reply, r.answer); });
  }
  if (format_) {
    Regex::Matcher matcher(*format_);
    each("format", o.format_weight, [&](const RewardInput& r) {
      const std::string reply = replace_invalid_utf8(r.reply);
      matcher.begin(reply);
      return matcher.find(0) ? 1.0 : 0.0;
    });
  }
  if (o.length > 0) {
    each("length", o.length_weight,
         [&](const RewardInput& r) { return length_reward(r.tokens, r.ended, o.length, r.room); });
  }
  if (o.repetition > 0) {
    each("repetition", o.repetition_weight,
         [&](const RewardInput& r) { return repetition_reward(r.reply, o.repetition); });
  }
  if (!o.command.empty()) add("command", o.command_weight, ask_command(replies));
  return scores;
}

}  // namespace frugal
