#include "tune/preference.h"

#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace frugal {
namespace {

// The prompt of two whole conversations: the messages with which both begin.
Json common_beginning(const Json& chosen, const Json& rejected, const std::string& where) {
  Json prompt = Json::array();
  for (size_t i = 0; i < chosen.size() && i < rejected.size() && chosen[i] == rejected[i]; ++i) {
    prompt.push_back(chosen[i]);
  }
  if (prompt.size() == chosen.size() && prompt.size() == rejected.size()) {
    fail("{}: \"chosen\" and \"rejected\" are the same: there is nothing to prefer", where);
  }
  if (prompt.empty()) fail("{}: no \"prompt\", and \"chosen\" and \"rejected\" do not begin alike", where);
  return prompt;
}

Json without_first(const Json& messages, size_t count) {
  Json rest = Json::array();
  for (size_t i = count; i < messages.size(); ++i) rest.push_back(messages[i]);
  return rest;
}

// One side as the layout of prompt and completion.
Example side(const Json& prompt, const Json& reply, const char* key, const Record& record) {
  Json completion = reply;
  if (prompt.is_array() && reply.is_string()) {
    completion = Json::array({{{"role", "assistant"}, {"content", reply}}});
  }
  Record line = record;
  line.body = to_text(Json{{"prompt", prompt}, {"completion", completion}});
  try {
    return parse_example(line);
  } catch (const Error& error) {
    fail("{} (\"completion\" is \"{}\" here)", error.what(), key);
  }
}

}  // namespace

Preference parse_preference(const Record& record) {
  const std::string where = fmt::format("{}:{}", record.file, record.line);
  if (!record.json) {
    fail(
        "{}: preferences are JSON Lines (.jsonl): an object with \"prompt\", \"chosen\" and \"rejected\" a "
        "line",
        record.file);
  }
  const Json row = parse_json(record.body, where);
  if (!row.is_object()) fail("{}: expected an object", where);
  for (const char* key : {"chosen", "rejected"}) {
    if (!row.contains(key)) fail("{}: \"{}\" is missing", where, key);
    if (!row[key].is_string() && !row[key].is_array()) {
      fail("{}: \"{}\" should be a text or a list of {{\"role\", \"content\"}}, it is {}", where, key,
           row[key].type_name());
    }
  }
  Json chosen = row["chosen"], rejected = row["rejected"];
  Json prompt = row.contains("prompt") ? row["prompt"] : Json();
  // Whole conversations; some files repeat the prompt as text beside them.
  if (chosen.is_array() && rejected.is_array() && !prompt.is_array()) {
    prompt = common_beginning(chosen, rejected, where);
    chosen = without_first(chosen, prompt.size());
    rejected = without_first(rejected, prompt.size());
  }
  if (prompt.is_null()) fail("{}: \"prompt\" is missing", where);
  if (!prompt.is_string() && !prompt.is_array()) {
    fail("{}: \"prompt\" should be a text or a list of {{\"role\", \"content\"}}, it is {}", where,
         prompt.type_name());
  }
  return {side(prompt, chosen, "chosen", record), side(prompt, rejected, "rejected", record)};
}

std::vector<Preference> read_preferences(const std::vector<std::string>& patterns, std::string_view where) {
  RecordReader reader(expand_patterns(patterns, where));
  std::vector<Preference> all;
  Record record;
  while (reader.next(record)) all.push_back(parse_preference(record));
  if (all.empty()) fail("{}: {} holds no preferences", where, fmt::join(patterns, ", "));
  return all;
}

PairLoss pair_loss(PreferenceLoss kind, double beta, const ReplyLogProb& chosen, const ReplyLogProb& rejected,
                   double chosen_reference, double rejected_reference) {
  const double up = chosen.sum - chosen_reference, down = rejected.sum - rejected_reference;
  PairLoss out;
  out.chosen_reward = beta * up;
  out.rejected_reward = beta * down;
  if (kind == PreferenceLoss::sigmoid) {
    const double z = beta * (up - down);
    // log(1 + e^-z) without overflow
    out.loss = z > 0 ? std::log1p(std::exp(-z)) : std::log1p(std::exp(z)) - z;
    const double slope = -beta / (1 + std::exp(z));
    out.chosen_gradient = slope;
    out.rejected_gradient = -slope;
    return out;
  }
  const auto of_chosen = static_cast<double>(chosen.tokens),
             of_rejected = static_cast<double>(rejected.tokens);
  const double miss = up / of_chosen - down / of_rejected - 1 / (2 * beta);
  out.loss = miss * miss;
  out.chosen_gradient = 2 * miss / of_chosen;
  out.rejected_gradient = -2 * miss / of_rejected;
  return out;
}

}  // namespace frugal
