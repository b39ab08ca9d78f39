#include "remote/options.h"

#include <algorithm>

#include "core/error.h"
#include "net/url.h"

namespace frugal::remote {

void Parameters::visit(FieldVisitor& v) {
  v.field("temperature", temperature, "unset: the endpoint's own");
  v.field("top_p", top_p, "unset: the endpoint's own");
  v.field("max_tokens", max_tokens, "an answer may have; the spend cap counts with all of them");
  v.field("max_tokens_field", max_tokens_field, "its name there; newer models want max_completion_tokens");
  v.field("seed", seed, "for endpoints that take one; each further sample adds 1");
  v.field("logprobs", logprobs,
          "most likely tokens to ask for at each place, with log-probabilities; 0: none");
}

void FilterOptions::visit(FieldVisitor& v) {
  v.field("finished", finished, "drop refusals and answers that were cut (finish_reason is not \"stop\")");
  v.field("answer", answer, "off, exact or numeric: drop what differs from the prompt's \"answer\"");
  v.field("min_chars", min_chars, "drop shorter answers");
  v.field("max_chars", max_chars, "drop longer answers; 0: no limit");
  v.field("repetition", repetition,
          "drop answers where a larger share of 16-character pieces came before; 1: keep them");
}

void AskOptions::visit(FieldVisitor& v) {
  v.field("endpoint", endpoint, "base URL, as https://host/v1; /chat/completions is added");
  v.field("model", model, "as the endpoint names it");
  v.field("api_key_env", api_key_env, "environment variable that holds the key; empty: no key is sent");
  v.field("licence", licence, "terms under which the answers may train a model; must be stated");
  v.field("prompts", prompts, "JSON Lines: \"prompt\" or \"messages\", perhaps \"answer\"");
  v.field("system", system, "system message for prompts without one; empty: none");
  v.field("samples", samples, "answers to ask for per prompt");
  v.field("parameters", parameters, "");
  v.field("filter", filter, "");
  v.field("concurrency", concurrency, "requests at a time");
  v.field("requests_per_minute", requests_per_minute, "0: no limit");
  v.field("tokens_per_minute", tokens_per_minute, "prompt (estimated) and max_tokens; 0: no limit");
  v.field("attempts", attempts, "for each prompt, before it is left out");
  v.field("backoff", backoff, "seconds before the second attempt; doubles, up to 60");
  v.field("timeout", timeout, "seconds for one request");
  v.field("price_input", price_input, "dollars per million prompt tokens");
  v.field("price_output", price_output, "dollars per million answer tokens");
  v.field("spend_cap", spend_cap, "dollars for this output folder, over all its runs; needed with prices");
}

namespace {

void check_endpoint(const AskOptions& o) {
  if (o.endpoint.empty()) fail_usage("endpoint: name the base URL, as https://host/v1");
  // What may hold a secret is not repeated.
  if (net::has_credentials(o.endpoint) || o.endpoint.find_first_of("?#") != std::string::npos) {
    fail_usage(
        "endpoint: a URL without user, password, query and fragment; keys come from the environment "
        "(api_key_env)");
  }
  if (net::origin_of(o.endpoint).empty())
    fail_usage("endpoint = \"{}\": expected a URL, as https://host/v1", o.endpoint);
  const bool encrypted = net::origin_of(o.endpoint).starts_with("https:");
  if (!encrypted && !o.api_key_env.empty() && !net::is_loopback(o.endpoint)) {
    fail_usage(
        "endpoint = \"{}\": the key would travel unencrypted; use https, or api_key_env = \"\" to send none",
        o.endpoint);
  }
  const auto allowed = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; };
  if (!std::ranges::all_of(o.api_key_env, allowed) || o.api_key_env.size() > 64) {
    fail_usage(
        "api_key_env: expected the name of a variable, as OPENAI_API_KEY (capitals, digits, _); the key "
        "itself "
        "stands in no recipe");
  }
}

}  // namespace

void check(const AskOptions& o) {
  const auto between = [](const char* key, double value, double low, double high) {
    if (!(value >= low && value <= high)) fail_usage("{} = {}: expected {} to {}", key, value, low, high);
  };
  const auto whole = [&](const char* key, int64_t value, int64_t low, double high) {
    between(key, static_cast<double>(value), static_cast<double>(low), high);
  };
  check_endpoint(o);
  if (o.model.empty()) fail_usage("model: name the model, as the endpoint does");
  if (o.licence.find_first_not_of(" \t\n") == std::string::npos) {
    fail_usage(
        "licence: say under which terms this model's answers may train another one (the provider's terms of "
        "use, "
        "or the model's licence); it is kept beside every answer, and whoever uses the student has to know "
        "it");
  }
  if (o.prompts.empty()) fail_usage("prompts: name JSON Lines files with \"prompt\" or \"messages\"");
  whole("samples", o.samples, 1, 1024);
  if (o.parameters.temperature) between("parameters.temperature", *o.parameters.temperature, 0, 10);
  if (o.parameters.top_p) between("parameters.top_p", *o.parameters.top_p, 0, 1);
  if (o.parameters.seed) whole("parameters.seed", *o.parameters.seed, 0, 9e15);
  whole("parameters.max_tokens", o.parameters.max_tokens, 1, 1 << 24);
  whole("parameters.logprobs", o.parameters.logprobs, 0, 1000);
  if (o.parameters.max_tokens_field != "max_tokens" &&
      o.parameters.max_tokens_field != "max_completion_tokens") {
    fail_usage("parameters.max_tokens_field = \"{}\": expected max_tokens or max_completion_tokens",
               o.parameters.max_tokens_field);
  }
  if (o.filter.answer != "off" && o.filter.answer != "exact" && o.filter.answer != "numeric")
    fail_usage("filter.answer = \"{}\": expected off, exact or numeric", o.filter.answer);
  whole("filter.min_chars", o.filter.min_chars, 0, 1e12);
  whole("filter.max_chars", o.filter.max_chars, 0, 1e12);
  between("filter.repetition", o.filter.repetition, 0, 1);
  whole("concurrency", o.concurrency, 1, 256);
  whole("attempts", o.attempts, 1, 1000);
  between("requests_per_minute", o.requests_per_minute, 0, 1e9);
  between("tokens_per_minute", o.tokens_per_minute, 0, 1e12);
  between("backoff", o.backoff, 0.001, 60);
  between("timeout", o.timeout, 0.1, 86400);
  between("price_input", o.price_input, 0, 1e6);
  between("price_output", o.price_output, 0, 1e6);
  if (o.spend_cap) between("spend_cap", *o.spend_cap, 0, 1e9);
  if (o.priced() && !o.spend_cap) fail_usage("spend_cap: say how many dollars may be spent in all");
  if (o.spend_cap && !o.priced())
    fail_usage("spend_cap: needs price_input and price_output, or nothing can be counted");
}

}  // namespace frugal::remote
