// What a recipe says about asking a model behind an OpenAI-compatible endpoint.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/fields.h"

namespace frugal::remote {

struct Parameters {
  std::optional<double> temperature, top_p;
  int64_t max_tokens = 1024;
  std::string max_tokens_field = "max_tokens";
  std::optional<int64_t> seed;
  int64_t logprobs = 0;

  void visit(FieldVisitor& v);
};

struct FilterOptions {
  bool finished = true;
  std::string answer = "off";
  int64_t min_chars = 1, max_chars = 0;
  double repetition = 0.5;

  void visit(FieldVisitor& v);
};

struct AskOptions {
  std::string endpoint, model, licence;
  std::string api_key_env = "OPENAI_API_KEY";  // the name; the key itself is never part of the options
  std::vector<std::string> prompts;
  std::string system;
  int64_t samples = 1;
  Parameters parameters;
  FilterOptions filter;
  int64_t concurrency = 8, attempts = 6;
  double requests_per_minute = 0, tokens_per_minute = 0, backoff = 1, timeout = 300;
  double price_input = 0, price_output = 0;  // dollars per million tokens
  std::optional<double> spend_cap;

  void visit(FieldVisitor& v);
  bool priced() const { return price_input > 0 || price_output > 0; }
};
// UsageError that begins with the key when a value is missing or out of its range.
void check(const AskOptions& options);

}  // namespace frugal::remote
