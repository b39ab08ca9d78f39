// How likely a model finds given continuations of given contexts: what questions with known answers are
// scored by (as lm-eval does: one request per choice).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/context.h"
#include "models/model.h"

namespace frugal {

struct LoglikelihoodRequest {
  std::vector<int32_t>
      context;  // at least one token (BOS): the first continuation token needs something before it
  std::vector<int32_t> continuation;  // at least one token
};

struct Loglikelihood {
  double nats = 0;      // sum of log probabilities of the continuation's tokens, at most 0
  bool greedy = false;  // whether the continuation is what greedy decoding would give
};

// One result per request. Requests are run together, about `rows` tokens a pass. What is longer than the
// model reaches loses the beginning of its context. Error when a request is empty or has ids outside the
// vocabulary.
std::vector<Loglikelihood> loglikelihoods(Context& ctx, Model& model,
                                          std::span<const LoglikelihoodRequest> requests,
                                          int64_t rows = 2048);

}  // namespace frugal
