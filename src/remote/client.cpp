#include "remote/client.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/hash.h"
#include "net/retry.h"
#include "net/url.h"

namespace frugal::remote {
namespace {

constexpr size_t kLongestAnswer = 256 << 20, kShortestSecret = 8, kShownOfErrors = 200;
constexpr int64_t kTemplateTokens = 256, kTokensPerMessage = 64;  // generous: what templates add to the text

std::string base(std::string endpoint) {
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint;
}

std::string one_line(std::string text) {
  text.resize(std::min(text.size(), kShownOfErrors));
  for (char& c : text) c = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return text;
}

// {"error": {"message", "code"}} is what most endpoints say; the rest says text.
struct Complaint {
  std::string message, code;
};
Complaint complaint_of(const std::string& body) {
  Complaint out{one_line(body), ""};
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("error")) return out;
  const Json& error = json["error"];
  const auto text = [&](const char* key) {
    return error.is_object() && error.contains(key) && error[key].is_string() ? error[key].get<std::string>()
                                                                              : std::string();
  };
  if (error.is_string()) out.message = one_line(error.get<std::string>());
  if (error.is_object()) out.message = one_line(text("message"));
  out.code = text("code").empty() ? text("type") : text("code");
  return out;
}

std::string text_or_empty(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// {"token", "bytes", "logprob"} of one token; false when it is not sound.
bool read_token(const Json& from, Json& to) {
  if (!from.is_object() || !from.contains("token") || !from["token"].is_string()) return false;
  if (!from.contains("logprob") || !from["logprob"].is_number()) return false;
  const double logprob = from["logprob"].get<double>();
  if (!(logprob <= 1e-3)) return false;
  to = {{"token", from["token"]}};
  if (from.contains("bytes") && from["bytes"].is_array()) {
    for (const Json& byte : from["bytes"]) {
      if (!byte.is_number_integer() || byte.get<int64_t>() < 0 || byte.get<int64_t>() > 255) return false;
    }
    to["bytes"] = from["bytes"];
  }
  to["logprob"] = logprob;
  return true;
}

// Empty when something in it cannot be.
std::string read_logprobs(const Json& choice) {
  const auto logprobs = choice.find("logprobs");
  if (logprobs == choice.end() || !logprobs->is_object()) return "";
  const auto content = logprobs->find("content");
  if (content == logprobs->end() || !content->is_array()) return "";
  Json out = Json::array();
  for (const Json& place : *content) {
    Json token;
    if (!read_token(place, token)) return "";
    token["top"] = Json::array();
    const auto top = place.find("top_logprobs");
    if (top == place.end() || !top->is_array()) return "";
    for (const Json& other : *top) {
      if (!read_token(other, token["top"].emplace_back())) return "";
    }
    out.push_back(std::move(token));
  }
  return to_text(out);
}

// What is reported, or the bound where that is missing or cannot be.
int64_t count_tokens(const Json& usage, const char* key, int64_t least, int64_t bound,
                     std::vector<std::string>& flags) {
  const auto found = usage.is_object() ? usage.find(key) : usage.end();
  if (!usage.is_object() || found == usage.end() || found->is_null()) {
    flags.push_back(fmt::format("{} missing", key));
    return bound;
  }
  const bool whole = found->is_number_integer() &&
                     !(found->is_number_unsigned() && found->get<uint64_t>() > uint64_t{1} << 62);
  const int64_t count = whole ? found->get<int64_t>() : -1;
  if (count >= least && count <= bound) return count;
  flags.push_back(fmt::format("{} impossible", key));
  return std::max(count, bound);  // whoever reports too much may bill it, too
}

}  // namespace

void check_key(const std::string& key) {
  for (const char c : key) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f || c == '"' ||
        c == '\\')
      fail_usage(
          "the key holds spaces, quotes or control characters; check the variable that api_key_env names");
  }
}

Request make_request(const AskOptions& options, const std::string& messages_json, int64_t sample) {
  const Parameters& p = options.parameters;
  const Json messages = parse_json(messages_json, "messages");
  Json body = {{"model", options.model}, {"messages", messages}, {"stream", false}};
  body[p.max_tokens_field] = p.max_tokens;
  if (p.temperature) body["temperature"] = *p.temperature;
  if (p.top_p) body["top_p"] = *p.top_p;
  if (p.seed) body["seed"] = *p.seed + sample;
  if (p.logprobs > 0) {
    body["logprobs"] = true;
    body["top_logprobs"] = p.logprobs;
  }
  Request request;
  request.body = to_text(body);
  Hasher128 hasher;
  hasher.update_framed(request.body);
  hasher.update_number(static_cast<uint64_t>(sample));
  request.key = hasher.finish().hex();
  request.prompt_bound = kTemplateTokens + kTokensPerMessage * static_cast<int64_t>(messages.size()) +
                         static_cast<int64_t>(messages_json.size());
  request.answer_bound = p.max_tokens;
  return request;
}

double cost(const AskOptions& options, int64_t prompt_tokens, int64_t answer_tokens) {
  return (static_cast<double>(prompt_tokens) * options.price_input +
          static_cast<double>(answer_tokens) * options.price_output) /
         1e6;
}

Answer parse_answer(const Json& body, const Request& request, bool logprobs_wanted) {
  const auto choices = body.is_object() ? body.find("choices") : body.end();
  if (!body.is_object() || choices == body.end() || !choices->is_array() || choices->empty())
    fail("the answer has no \"choices\"");
  const Json& choice = (*choices)[0];
  if (!choice.is_object() || !choice.contains("message") || !choice["message"].is_object())
    fail("the answer has no \"message\"");
  const Json& message = choice["message"];
  Answer out;
  out.refusal = text_or_empty(message, "refusal");
  out.reasoning = text_or_empty(message, "reasoning_content");
  out.finish_reason = text_or_empty(choice, "finish_reason");
  const bool has_content = message.contains("content") && message["content"].is_string();
  // Only a refusal, and what a filter or the limit of tokens swallowed, may be without text.
  if (!has_content && out.refusal.empty() && (out.finish_reason.empty() || out.finish_reason == "stop"))
    fail("the answer's message has no \"content\"");
  if (out.finish_reason.empty()) out.flags.emplace_back("finish_reason missing");
  out.content = text_or_empty(message, "content");
  out.model = text_or_empty(body, "model");
  out.id = text_or_empty(body, "id");
  if (out.model.empty()) out.flags.emplace_back("model missing");
  const Json usage = body.contains("usage") ? body["usage"] : Json();
  if (!usage.is_null()) out.usage = to_text(usage);
  out.prompt_tokens = count_tokens(usage, "prompt_tokens", 1, request.prompt_bound, out.flags);
  out.answer_tokens =
      count_tokens(usage, "completion_tokens", out.content.empty() ? 0 : 1, request.answer_bound, out.flags);
  if (logprobs_wanted) {
    out.logprobs = read_logprobs(choice);
    if (out.logprobs.empty()) out.flags.emplace_back("logprobs missing");
  }
  return out;
}

ChatClient::ChatClient(const AskOptions& options, const Access& access)
    : options_(options),
      key_(access.key),
      url_(base(options.endpoint) + "/chat/completions"),
      http_({.token = access.key,
             .token_origin = net::origin_of(options.endpoint),
             .ca_file = access.ca_file,
             .connect_seconds = std::min(20.0, options.timeout),
             .stall_seconds = options.timeout + 1,
             .total_seconds = options.timeout}) {}

std::string ChatClient::redacted(std::string text) const {
  if (key_.size() < kShortestSecret) return text;
  for (size_t at = text.find(key_); at != std::string::npos; at = text.find(key_, at))
    text.replace(at, key_.size(), "[key]");
  return text;
}

Attempt ChatClient::ask(const Request& request) {
  try {
    std::string document;
    net::HttpHead head =
        http_.post(url_, {"Content-Type: application/json"}, request.body, document, kLongestAnswer);
    return judge(head, document, request);
  } catch (const net::TransferError& error) {
    return {error.retry ? Outcome::temporary : Outcome::fatal, {}, redacted(error.what()), "", error.sent};
  } catch (const Error& error) {  // a redirect, an answer without end
    return {Outcome::fatal, {}, redacted(error.what()), "", true};
  }
}

Attempt ChatClient::judge(const net::HttpHead& head, const std::string& document,
                          const Request& request) const {
  if (head.ok()) {
    try {
      // Written anew, so that no escape hides the key.
      const Json body = parse_json(redacted(to_text(parse_json(document, url_))), url_);
      Attempt attempt{Outcome::answered, parse_answer(body, request, options_.parameters.logprobs > 0), "",
                      "", true};
      attempt.answer.request_id = redacted(head.header("x-request-id"));
      return attempt;
    } catch (const Error& error) {
      return {Outcome::temporary,
              {},
              redacted(fmt::format("{}: not an answer: {}", url_, error.what())),
              "",
              true};
    }
  }
  const Complaint said = complaint_of(redacted(head.body));
  const std::string more = said.message.empty() ? "" : fmt::format(" ({})", redacted(said.message));
  const auto attempt = [&](Outcome outcome, std::string_view advice, bool may_cost = false) {
    return Attempt{outcome,
                   {},
                   fmt::format("{}: status {}{}{}", url_, head.status, more, advice),
                   head.header("retry-after"),
                   may_cost};
  };
  const bool with_key = !key_.empty();
  switch (head.status) {
    case 400:
    case 413:
    case 422:
      return attempt(Outcome::refused, "");
    case 401:
      return attempt(Outcome::fatal, with_key
                                         ? ": the key in the variable that api_key_env names is not accepted"
                                         : ": it needs a key; name its variable in api_key_env");
    case 403:
      return attempt(Outcome::fatal, ": the key has no access to this model, or none from here");
    case 404:
      return attempt(Outcome::fatal, ": not found; check endpoint and model");
    case 429:
      if (said.code == "insufficient_quota")
        return attempt(Outcome::fatal, ": the account's credit is used up");
      return attempt(Outcome::temporary, "");
    default:
      break;
  }
  // A gateway that gave up waiting does not stop the model behind it.
  const bool gave_up = head.status == 408 || head.status == 502 || head.status == 504;
  return attempt(net::is_temporary(head.status) ? Outcome::temporary : Outcome::fatal, "", gave_up);
}

}  // namespace frugal::remote
