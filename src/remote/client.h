// One request to /chat/completions of an OpenAI-compatible endpoint, and what came of it.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "net/http.h"
#include "remote/options.h"

namespace frugal::remote {

// A request that can be sent, and bounds of what it can cost.
struct Request {
  std::string body;
  std::string key;  // of the body and which of several samples it is: names the answer in the journal
  int64_t prompt_bound = 0;  // tokens the prompt can have: one a byte, and what a chat template adds
  int64_t answer_bound = 0;
};
Request make_request(const AskOptions& options, const std::string& messages_json, int64_t sample);

// Dollars.
double cost(const AskOptions& options, int64_t prompt_tokens, int64_t answer_tokens);

struct Answer {
  std::string content, reasoning, refusal, finish_reason;
  std::string model, id, request_id;
  std::string logprobs;  // JSON list of {"token", "bytes", "logprob", "top"}; empty: none
  std::string usage;     // JSON, as reported
  int64_t prompt_tokens = 0,
          answer_tokens = 0;       // as counted: what is reported, or the bounds if that cannot be
  std::vector<std::string> flags;  // what was not as it should be
};

enum class Outcome {
  answered,
  temporary,  // another attempt may help
  refused,    // this prompt cannot be answered
  fatal,      // no prompt can
};
struct Attempt {
  Outcome outcome = Outcome::fatal;
  Answer answer;
  std::string why;          // of all but `answered`, for people
  std::string retry_after;  // what the server said about it
  bool may_cost = false;    // the server may have done the work, and bill it
};

// What this machine brings to a connection.
struct Access {
  std::string key;      // of the endpoint; empty: none is sent
  std::string ca_file;  // as net::HttpOptions has it
};

class ChatClient {
 public:
  // Keys of at least 8 characters are removed from everything that a server says before anyone sees it.
  ChatClient(const AskOptions& options, const Access& access);
  Attempt ask(const Request& request);

 private:
  std::string redacted(std::string text) const;
  Attempt judge(const net::HttpHead& head, const std::string& document, const Request& request) const;
  const AskOptions& options_;
  std::string key_, url_;
  net::HttpClient http_;
};

// UsageError, without the key, for one that cannot be sent in a header.
void check_key(const std::string& key);

// From the body of a 2xx answer; Error saying what is missing.
Answer parse_answer(const Json& body, const Request& request, bool logprobs_wanted);

}  // namespace frugal::remote
