#include "tune/example.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/utf8.h"

namespace frugal {
namespace {

std::string text_field(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) fail("{}: \"{}\" is missing", where, key);
  if (!found->is_string()) fail("{}: \"{}\" should be a string, it is {}", where, key, found->type_name());
  return found->get<std::string>();
}

// A list of {"role", "content", ...}. Content may be null where an assistant only calls tools.
Json checked_messages(const Json& list, const char* key, const std::string& where) {
  if (!list.is_array() || list.empty())
    fail("{}: \"{}\" should be a list of {{\"role\", \"content\"}}", where, key);
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& message = list[i];
    const std::string at = fmt::format("{}: {}[{}]", where, key, i);
    if (!message.is_object()) fail("{}: expected an object with \"role\" and \"content\"", at);
    text_field(message, "role", at);
    const bool calls = message.contains("tool_calls") && message["tool_calls"].is_array();
    const bool silent = !message.contains("content") || message["content"].is_null();
    if (!(calls && silent)) text_field(message, "content", at);
  }
  return list;
}

void require_assistant(const Json& messages, size_t from, const std::string& where) {
  for (size_t i = from; i < messages.size(); ++i) {
    if (messages[i]["role"] == "assistant") return;
  }
  fail("{}: no message of the role \"assistant\": there is nothing to learn", where);
}

Example conversation(Json messages, size_t learnt_from, const std::string& where) {
  require_assistant(messages, learnt_from, where);
  return {to_text(messages), learnt_from, {}, {}, where};
}

Example from_sharegpt(const Json& list, const std::string& where) {
  static const std::map<std::string, const char*, std::less<>> roles = {
      {"human", "user"},      {"user", "user"},     {"gpt", "assistant"}, {"assistant", "assistant"},
      {"model", "assistant"}, {"system", "system"}, {"tool", "tool"},     {"observation", "tool"}};
  if (!list.is_array() || list.empty()) {
    fail("{}: \"conversations\" should be a list of {{\"from\", \"value\"}}", where);
  }
  Json messages = Json::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("{}: conversations[{}]", where, i);
    if (!list[i].is_object()) fail("{}: expected an object with \"from\" and \"value\"", at);
    if (list[i].contains("role") && !list[i].contains("from")) {  // some files mix the two layouts
      return conversation(checked_messages(list, "conversations", where), 0, where);
    }
    const std::string from = text_field(list[i], "from", at);
    const auto role = roles.find(from);
    if (role == roles.end()) {
      fail("{}: \"from\" is \"{}\"; expected human, gpt, system or tool", at, from);
    }
    messages.push_back({{"role", role->second}, {"content", text_field(list[i], "value", at)}});
  }
  return conversation(std::move(messages), 0, where);
}

Example from_alpaca(const Json& row, const std::string& where) {
  std::string user = text_field(row, "instruction", where);
  if (row.contains("input") && !row["input"].is_null()) {
    const std::string input = text_field(row, "input", where);
    if (!input.empty()) user += "\n\n" + input;
  }
  const std::string output = text_field(row, "output", where);
  Json messages = Json::array();
  if (row.contains("system") && !row["system"].is_null()) {
    const std::string system = text_field(row, "system", where);
    if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  }
  messages.push_back({{"role", "user"}, {"content", std::move(user)}});
  messages.push_back({{"role", "assistant"}, {"content", output}});
  return conversation(std::move(messages), 0, where);
}

Example from_completion(const Json& row, const std::string& where) {
  const auto completion = row.find("completion");
  if (completion == row.end()) fail("{}: \"completion\" is missing beside \"prompt\"", where);
  if (row["prompt"].is_array()) {
    Json messages = checked_messages(row["prompt"], "prompt", where);
    const size_t given = messages.size();
    for (const Json& message : checked_messages(*completion, "completion", where))
      messages.push_back(message);
    return conversation(std::move(messages), given, where);
  }
  Example example{{}, 0, text_field(row, "prompt", where), text_field(row, "completion", where), where};
  if (example.completion.empty()) fail("{}: \"completion\" is empty: there is nothing to learn", where);
  return example;
}

}  // namespace

Example parse_example(const Record& record) {
  const std::string where = fmt::format("{}:{}", record.file, record.line);
  if (!record.json) {
    fail(
        "{}: examples are JSON Lines (.jsonl): an object with \"messages\" a line; plain text is for frugal "
        "train",
        record.file);
  }
  if (valid_utf8_prefix(record.body) < record.body.size()) fail("{}: invalid UTF-8", where);
  const Json row = parse_json(record.body, where);
  if (!row.is_object()) fail("{}: expected an object", where);
  if (const auto list = row.find("messages"); list != row.end()) {
    Example example = conversation(checked_messages(*list, "messages", where), 0, where);
    if (row.contains("logprobs") && !row["logprobs"].is_null())
      example.logprobs_json = to_text(row["logprobs"]);
    return example;
  }
  if (const auto list = row.find("conversations"); list != row.end()) return from_sharegpt(*list, where);
  if (row.contains("instruction")) return from_alpaca(row, where);
  if (row.contains("prompt")) return from_completion(row, where);
  std::vector<std::string> found;
  for (const auto& [key, value] : row.items()) found.push_back(key);
  fail(
      "{}: expected \"messages\", \"conversations\", \"instruction\" and \"output\", or \"prompt\" and "
      "\"completion\"; found {}",
      where, found.empty() ? "no fields" : fmt::format("{}", fmt::join(found, ", ")));
}

std::vector<Example> read_examples(const std::vector<std::string>& patterns, std::string_view where) {
  RecordReader reader(expand_patterns(patterns, where));
  std::vector<Example> examples;
  Record record;
  while (reader.next(record)) examples.push_back(parse_example(record));
  if (examples.empty()) fail("{}: {} holds no examples", where, fmt::join(patterns, ", "));
  return examples;
}

}  // namespace frugal
