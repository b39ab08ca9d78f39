#include "infer/sampler.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {

void SamplingOptions::check() const {
  const auto number = [](std::string_view name, double value, double low, double high,
                         std::string_view expected) {
    if (!(value >= low && value <= high)) fail_usage("{} = {}: expected {}", name, value, expected);
  };
  constexpr double kLarge = 1e6;
  number("temperature", temperature, 0, kLarge, "0 (greedy) or a positive number");
  number("top_p", top_p, 0, 1, "a number from 0 to 1");
  number("min_p", min_p, 0, 1, "a number from 0 to 1");
  number("repetition_penalty", repetition_penalty, 1e-6, kLarge, "a positive number");
  if (top_k < 0) fail_usage("top_k = {}: expected 0 (all) or more", top_k);
}

int32_t most_likely(std::span<const float> logits) {
  CHECK(!logits.empty());
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]))
      fail("the model computed a logit that is not a number: its weights are broken");
    if (logits[i] > logits[best]) best = i;
  }
  if (!std::isfinite(logits[best])) fail("the model computed no finite logit: its weights are broken");
  return static_cast<int32_t>(best);
}

Sampler::Sampler(const SamplingOptions& options) : options_(options) {
  options_.check();
}

void Sampler::penalise(std::span<float> logits, std::span<const int32_t> context) {
  if (options_.repetition_penalty == 1) return;
  const auto penalty = static_cast<float>(options_.repetition_penalty);
  seen_.assign(logits.size(), false);
  for (const int32_t id : context) {
    const auto i = static_cast<size_t>(id);
    if (i >= logits.size() || seen_[i]) continue;
    seen_[i] = true;
    logits[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
  }
}

namespace {
// Most likely first, ties by id.
constexpr auto kBefore = [](const auto& a, const auto& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
};
}  // namespace

// Sorts the most likely candidates to the front until they hold `top_p` of `total`; returns how many that
// are.
size_t Sampler::keep_nucleus(double total, double top) {
  const double wanted = options_.top_p * total;
  double sum = 0;
  size_t sorted = 0;
  for (size_t kept = 0; kept < candidates_.size(); ++kept) {
    if (kept ==
        sorted) {  // the nucleus is mostly small: sorting in growing pieces is far cheaper than sorting all
      sorted = std::min(candidates_.size(), std::max<size_t>(64, sorted * 4));
      const auto begin = candidates_.begin();
      std::partial_sort(begin + static_cast<ptrdiff_t>(kept), begin + static_cast<ptrdiff_t>(sorted),
                        candidates_.end(), kBefore);
    }
    sum += std::exp((candidates_[kept].logit - top) / options_.temperature);
    if (sum >= wanted) return kept + 1;
  }
  return candidates_.size();
}

int32_t Sampler::sample(std::span<float> logits, std::span<const int32_t> context, uint64_t position) {
  penalise(logits, context);
  const int32_t best = most_likely(logits);
  if (options_.temperature == 0 || options_.top_k == 1) return best;
  const double top = logits[static_cast<size_t>(best)];
  const auto weight = [&](const Candidate& c) { return std::exp((c.logit - top) / options_.temperature); };

  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  const auto top_k = static_cast<size_t>(options_.top_k);
  if (top_k > 0 && top_k < candidates_.size()) {
    const auto end = candidates_.begin() + static_cast<ptrdiff_t>(top_k);
    std::partial_sort(candidates_.begin(), end, candidates_.end(), kBefore);
    candidates_.erase(end, candidates_.end());
  }
  double total = 0;
  for (const Candidate& c : candidates_) total += weight(c);
  if (options_.top_p < 1) candidates_.resize(keep_nucleus(total, top));
  std::erase_if(candidates_, [&](const Candidate& c) { return weight(c) < options_.min_p; });

  total = 0;
  for (const Candidate& c : candidates_) total += weight(c);
  constexpr uint64_t kWordsPerDraw = 2;
  Rng rng(static_cast<uint64_t>(options_.seed), hash64("sampler"), position * kWordsPerDraw);
  double left = rng.uniform() * total;
  for (const Candidate& c : candidates_) {
    left -= weight(c);
    if (left < 0) return c.id;
  }
  return candidates_.back().id;
}

}  // namespace frugal
