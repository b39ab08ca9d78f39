#include "infer/draft_policy.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace frugal {
namespace {

// Before it was timed a row more is taken for that part of a plain pass.
constexpr double kRowCost = 0.1;
// What is known of a kind of drafts beforehand, and of the positions before one, as so many observations.
constexpr double kPriorWeight = 3, kBeforeWeight = 2;
constexpr double kForget = 0.93;  // an observation's weight after each later one
constexpr double kMargin = 1.03;  // a gain below this is not worth its uncertainty

}  // namespace

double DraftPolicy::Recent::median() const {
  std::array<double, 9> sorted = values;
  const auto n = static_cast<ptrdiff_t>(std::min<int64_t>(count, std::ssize(values)));
  std::sort(sorted.begin(), sorted.begin() + n);
  return sorted[static_cast<size_t>(n / 2)];
}

DraftPolicy::DraftPolicy(int64_t longest, std::vector<double> priors)
    : longest_(longest), priors_(std::move(priors)) {
  CHECK(longest > 0 && !priors_.empty());
  kinds_.assign(priors_.size(), std::vector<Frequency>(static_cast<size_t>(longest)));
  for (size_t kind = 0; kind < kinds_.size(); ++kind)
    kinds_[kind][0] = {priors_[kind] * kPriorWeight, kPriorWeight};
}

void DraftPolicy::begin_reply() {
  constexpr double kKept = 0.8;
  plain_ = {};
  for (size_t kind = 0; kind < kinds_.size(); ++kind) {
    for (Frequency& f : kinds_[kind]) f = {f.right * kKept, f.tried * kKept};
    const double prior = kPriorWeight * (1 - kKept);
    kinds_[kind][0].right += priors_[kind] * prior;
    kinds_[kind][0].tried += prior;
  }
}

void DraftPolicy::saw_pass(int64_t rows, double seconds) {
  if (rows == 1) return plain_.add(seconds);
  if (!ready()) return;
  const double cost = seconds / plain_seconds();
  costs_[rows].add(cost);
  row_cost_.add((cost - 1) / static_cast<double>(rows - 1));
}

void DraftPolicy::saw_drafting(int64_t tokens, double seconds) {
  if (tokens > 0) drafting_.add(seconds / static_cast<double>(tokens));
}

void DraftPolicy::saw_token(int kind, int64_t position, bool right) {
  Frequency& f = kinds_.at(static_cast<size_t>(kind)).at(static_cast<size_t>(position));
  f.right = f.right * kForget + (right ? 1 : 0);
  f.tried = f.tried * kForget + 1;
}

double DraftPolicy::plain_seconds() const {
  CHECK(ready());
  return plain_.median();
}

// The number's own passes, and the slope of all of them for as much as one.
double DraftPolicy::pass_cost(int64_t rows) const {
  if (rows == 1) return 1;
  const double slope = row_cost_.count > 0 ? std::max(0.0, row_cost_.median()) : kRowCost;
  const double line = 1 + slope * static_cast<double>(rows - 1);
  const auto own = costs_.find(rows);
  if (own == costs_.end()) return line;
  const auto n = static_cast<double>(std::min<int64_t>(own->second.count, std::ssize(own->second.values)));
  return std::max(1.0, (own->second.median() * n + line) / (n + 1));
}

// A position without observations of its own is taken for as good as the one before.
DraftPolicy::Estimate DraftPolicy::frequency(int kind, int64_t position) const {
  const auto& positions = kinds_.at(static_cast<size_t>(kind));
  double weight = positions[0].tried, mean = positions[0].right / weight;
  for (int64_t i = 1; i <= position; ++i) {
    const Frequency& f = positions[static_cast<size_t>(i)];
    weight = f.tried + kBeforeWeight;
    mean = (f.right + mean * kBeforeWeight) / weight;
  }
  return {mean, std::max(0.0, mean - std::sqrt(mean * (1 - mean) / weight))};
}

double DraftPolicy::tokens(int kind, int64_t drafted, double Estimate::*which) const {
  double sum = 1, all = 1;
  for (int64_t i = 0; i < drafted; ++i) {
    all *= frequency(kind, i).*which;
    sum += all;
  }
  return sum;
}

double DraftPolicy::expected_tokens(int kind, int64_t drafted) const {
  return tokens(kind, drafted, &Estimate::mean);
}

double DraftPolicy::expected_cost(int64_t drafted) const {
  const double drafting = drafting_.count > 0 ? drafting_.median() / plain_seconds() : 0;
  return pass_cost(drafted + 1) + drafting * static_cast<double>(drafted);
}

int64_t DraftPolicy::choose(int kind, int64_t available, double spare) const {
  if (!ready()) return 0;
  int64_t best = 0;
  double best_rate = kMargin;
  for (int64_t k = 1; k <= std::min(available, longest_); ++k) {
    const double cost = expected_cost(k), rate = tokens(kind, k, &Estimate::cautious) / cost;
    if (rate > best_rate && cost - 1 <= spare) best = k, best_rate = rate;
  }
  return best;
}

}  // namespace frugal
