#include "infer/draft_policy.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace frugal {
namespace {

constexpr int64_t kPlainPasses = 3;
// Before it was timed a row more is taken for that part of a plain pass; what is known of a kind of drafts weighs
// as much as so many observations.
constexpr double kRowCost = 0.1, kPriorWeight = 2;
constexpr double kForget = 0.97;  // an observation's weight after each later one
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
}

void DraftPolicy::saw_pass(int64_t rows, double seconds) {
  passes_[rows].add(seconds);
}

void DraftPolicy::saw_drafting(int64_t tokens, double seconds) {
  if (tokens > 0) drafting_.add(seconds / static_cast<double>(tokens));
}

void DraftPolicy::saw_draft(int kind, int64_t tokens, int64_t right) {
  auto& positions = kinds_.at(static_cast<size_t>(kind));
  for (int64_t i = 0; i < std::min(tokens, right + 1); ++i) {
    Frequency& f = positions.at(static_cast<size_t>(i));
    f.right = f.right * kForget + (i < right ? 1 : 0);
    f.tried = f.tried * kForget + 1;
  }
}

bool DraftPolicy::ready() const {
  const auto plain = passes_.find(1);
  return plain != passes_.end() && plain->second.count >= kPlainPasses;
}

// Between two numbers of rows that were timed a straight line, beyond them the nearest slope.
double DraftPolicy::pass_seconds(int64_t rows) const {
  CHECK(ready());
  const auto at = passes_.lower_bound(rows);
  if (at != passes_.end() && at->first == rows) return at->second.median();
  auto right = at == passes_.end() ? std::prev(passes_.end()) : at;
  if (right->first == 1) return right->second.median() * (1 + kRowCost * static_cast<double>(rows - 1));
  const auto left = std::prev(right);
  const double low = left->second.median(), high = std::max(low, right->second.median());
  const double slope = (high - low) / static_cast<double>(right->first - left->first);
  return low + slope * static_cast<double>(rows - left->first);
}

// A position without observations of its own is taken for as good as the one before.
double DraftPolicy::frequency(int kind, int64_t position) const {
  const auto& positions = kinds_.at(static_cast<size_t>(kind));
  double mean = priors_[static_cast<size_t>(kind)];
  for (int64_t i = 0; i <= position; ++i) {
    const Frequency& f = positions[static_cast<size_t>(i)];
    mean = (f.right + mean * kPriorWeight) / (f.tried + kPriorWeight);
  }
  return mean;
}

double DraftPolicy::expected_tokens(int kind, int64_t drafted) const {
  double sum = 1, all = 1;
  for (int64_t i = 0; i < drafted; ++i) {
    all *= frequency(kind, i);
    sum += all;
  }
  return sum;
}

double DraftPolicy::expected_seconds(int64_t drafted) const {
  const double drafting = drafting_.count > 0 ? drafting_.median() : 0;
  return pass_seconds(drafted + 1) + drafting * static_cast<double>(drafted);
}

int64_t DraftPolicy::choose(int kind, int64_t available) const {
  if (!ready()) return 0;
  int64_t best = 0;
  double best_rate = kMargin / pass_seconds(1);
  for (int64_t k = 1; k <= std::min(available, longest_); ++k) {
    const double rate = expected_tokens(kind, k) / expected_seconds(k);
    if (rate > best_rate) best = k, best_rate = rate;
  }
  return best;
}

}  // namespace frugal
