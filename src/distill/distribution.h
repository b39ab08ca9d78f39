// What a teacher says of a next token, as little of it as a student needs, and as few bytes.
//
// sampled: draws with replacement from p, kept as counts. E[count / draws] = p, so the gradient of the
// cross-entropy against the counts is that of full distillation in expectation ("Sparse Logit Sampling",
// Anshumann et al. 2025, §4: random sampling knowledge distillation). top_k: the k most likely ids with their
// probabilities, the rest in one bucket. Renormalised instead (no bucket), the student's optimum is p / (mass
// kept): over-confident; that is why there is no such form here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace frugal {

enum class CacheKind { sampled, top_k };
std::string_view to_string(CacheKind kind);
CacheKind parse_cache_kind(std::string_view name);  // UsageError lists the names

// Of one token. Ids ascend; weights are count / draws, or probabilities that leave 1 - their sum to the
// others.
struct SparseDistribution {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

// `draws` draws with replacement from softmax(logits); a pure function of (seed, place): `place` numbers the
// token in the whole cache. Weights are multiples of 1 / draws. Error when a logit is not a number.
SparseDistribution draw(std::span<const float> logits, int draws, uint64_t seed, uint64_t place);
// The k most likely ids, ties to the lower one.
SparseDistribution most_likely(std::span<const float> logits, int k);

// Bytes of many distributions, one behind the other, and back. Ids cost log2 of their mean distance and
// about 1.5 bits, counts 2 floor(log2) + 1 bits, probabilities 16 bits of logarithm (to a ten-thousandth of
// their value).
class DistributionWriter {
 public:
  // `scale`: the number of draws, or k.
  DistributionWriter(CacheKind kind, int64_t vocab, int64_t scale)
      : kind_(kind), vocab_(vocab), scale_(scale) {}
  void add(const std::optional<SparseDistribution>& distribution);  // nothing: a token without a target
  // What was added since the last call, padded to whole bytes.
  std::string take();

 private:
  void bit(uint32_t value);
  void bits(uint64_t value, int count);
  void gamma(uint64_t value);
  CacheKind kind_;
  int64_t vocab_, scale_;
  std::string bytes_;
  int used_ = 0;  // bits of the last byte
};

class DistributionReader {
 public:
  DistributionReader(CacheKind kind, int64_t vocab, int64_t scale, std::string_view bytes)
      : kind_(kind), vocab_(vocab), scale_(scale), bytes_(bytes) {}
  // The next one. Error ("damaged") when the bytes cannot be one.
  std::optional<SparseDistribution> next();

 private:
  uint32_t bit();
  uint64_t bits(int count);
  uint64_t gamma();
  CacheKind kind_;
  int64_t vocab_, scale_;
  std::string_view bytes_;
  size_t at_ = 0;  // in bits
};

}  // namespace frugal
