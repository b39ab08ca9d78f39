// Chooses the next token from logits. Filters run in transformers' order: repetition penalty, temperature,
// top-k, top-p, min-p. The choice is a pure function of (logits, context, options, position): the random
// number is Philox's at that position, so neither threads nor batching nor a restart change it. Ties go to
// the lowest id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/fields.h"

namespace frugal {

struct SamplingOptions {
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  int64_t seed = 0;

  void visit(FieldVisitor& v) {
    v.field("temperature", temperature, "0 takes the most likely token; higher is more random");
    v.field("top_k", top_k, "keep the k most likely tokens; 0 keeps all");
    v.field("top_p", top_p, "keep the most likely tokens that together reach this probability; 1 keeps all");
    v.field("min_p", min_p, "keep tokens at least this likely relative to the most likely one; 0 keeps all");
    v.field("repetition_penalty", repetition_penalty, "divides the logits of tokens already seen; 1 is off");
    v.field("seed", seed, "of the random choice");
  }
  // UsageError naming the value that is out of range.
  void check() const;
};

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  // The next token. `context` holds the tokens so far (prompt and reply), `position` that of the token being
  // chosen. `logits` (V) is changed. Error when no logit is finite (a broken model).
  int32_t sample(std::span<float> logits, std::span<const int32_t> context, uint64_t position);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  void penalise(std::span<float> logits, std::span<const int32_t> context);
  size_t keep_nucleus(double total, double top);

  SamplingOptions options_;
  std::vector<Candidate> candidates_;
  std::vector<bool> seen_;
};

// The first of the largest values. Error when none is finite.
int32_t most_likely(std::span<const float> logits);

}  // namespace frugal
