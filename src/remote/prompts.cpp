#include "remote/prompts.h"

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/utf8.h"
#include "data/source.h"

namespace frugal::remote {
namespace {

const std::string& text_of(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) fail("{}: \"{}\" is missing", where, key);
  if (!found->is_string()) fail("{}: \"{}\" should be a string, it is {}", where, key, found->type_name());
  return found->get_ref<const std::string&>();
}

Json messages_of(const Json& row, const std::string& where) {
  if (row.contains("prompt") && !row["prompt"].is_array())
    return Json::array({{{"role", "user"}, {"content", text_of(row, "prompt", where)}}});
  const char* key = row.contains("prompt") ? "prompt" : "messages";
  if (!row.contains(key)) fail("{}: expected \"prompt\" or \"messages\"", where);
  Json messages = row[key];
  if (!messages.is_array()) fail("{}: \"{}\" should be a list of {{\"role\", \"content\"}}", where, key);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string at = fmt::format("{}: {}[{}]", where, key, i);
    if (!messages[i].is_object()) fail("{}: expected an object with \"role\" and \"content\"", at);
    text_of(messages[i], "role", at);
    text_of(messages[i], "content", at);
  }
  while (!messages.empty() && messages.back()["role"] == "assistant") messages.erase(messages.size() - 1);
  if (messages.empty() || messages.back()["role"] == "system")
    fail("{}: \"{}\" holds no question to answer", where, key);
  return messages;
}

std::optional<std::string> reference_of(const Json& row, const std::string& where) {
  const auto found = row.find("answer");
  if (found == row.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number()) return to_text(*found);
  fail("{}: \"answer\" should be text or a number, it is {}", where, found->type_name());
}

Prompt parse_prompt(const Record& record, const std::string& system) {
  const std::string where = fmt::format("{}:{}", record.file, record.line);
  if (!record.json)
    fail("{}: prompts are JSON Lines (.jsonl): an object with \"prompt\" a line", record.file);
  if (valid_utf8_prefix(record.body) < record.body.size()) fail("{}: invalid UTF-8", where);
  const Json row = parse_json(record.body, where);
  if (!row.is_object()) fail("{}: expected an object", where);
  Json messages = messages_of(row, where);
  if (!system.empty() && messages[0]["role"] != "system")
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", system}});
  return {to_text(messages), reference_of(row, where), where};
}

}  // namespace

std::vector<Prompt> read_prompts(const AskOptions& options, int64_t& duplicates) {
  RecordReader reader(expand_patterns(options.prompts, "prompts"));
  std::vector<Prompt> prompts;
  std::map<std::string, size_t> known;
  Record record;
  duplicates = 0;
  while (reader.next(record)) {
    Prompt prompt = parse_prompt(record, options.system);
    const auto [it, is_new] = known.emplace(prompt.messages_json, prompts.size());
    if (is_new) {
      prompts.push_back(std::move(prompt));
      continue;
    }
    Prompt& first = prompts[it->second];
    if (prompt.reference && first.reference && *prompt.reference != *first.reference) {
      fail("{}: the same prompt as {}, with another \"answer\"", prompt.where, first.where);
    }
    if (!first.reference) first.reference = prompt.reference;
    ++duplicates;
  }
  if (prompts.empty()) fail("prompts: the files hold none");
  return prompts;
}

}  // namespace frugal::remote
