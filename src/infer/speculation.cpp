#include "infer/speculation.h"

#include <algorithm>

#include "core/error.h"

namespace frugal {

Speculation::Speculation(Drafter& drafter, const DraftOptions& options, std::function<double()> seconds)
    : drafter_(drafter),
      options_(options),
      seconds_(std::move(seconds)),
      policy_(options.longest, drafter.priors()) {}

// Compares the draft being watched with what came instead, as far as that is known.
void Speculation::watch(std::span<const int32_t> text) {
  if (!watched_) return;
  const auto& tokens = watched_->draft.tokens;
  const auto known = text.subspan(watched_->at);
  const size_t n = std::min(tokens.size(), known.size());
  const auto differs =
      std::mismatch(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(n), known.begin()).first;
  const int64_t right = differs - tokens.begin();
  if (right < std::ssize(known) || known.size() >= tokens.size()) {
    policy_.saw_draft(watched_->draft.kind, std::ssize(tokens), right);
    watched_.reset();
  }
}

std::vector<int32_t> Speculation::next(std::span<const int32_t> text, int64_t room) {
  watch(text);
  current_ = {};
  drafting_ = 0;
  const int64_t most = std::min(room, options_.longest);
  if (most < 1 || !(policy_.ready() || options_.always)) return {};
  ++since_draft_;
  int64_t wanted = most;
  if (!drafter_.free() && !options_.always) {  // decide first: the draft is what costs
    wanted = policy_.choose(0, most);
    if (wanted == 0 && since_draft_ > patience_) {
      wanted = 1;
      patience_ = std::min<int64_t>(1024, patience_ * 2);
    }
    if (wanted == 0) return {};
  }
  const double start = seconds_();
  current_ = drafter_.propose(text, wanted);
  drafting_ = seconds_() - start;
  if (current_.tokens.empty()) return {};
  if (drafter_.free() && !options_.always) {
    const int64_t chosen = policy_.choose(current_.kind, std::ssize(current_.tokens));
    if (chosen == 0 && !watched_) watched_ = {current_, text.size()};
    current_.tokens.resize(static_cast<size_t>(chosen));
  } else if (!drafter_.free()) {
    policy_.saw_drafting(std::ssize(current_.tokens), drafting_);
  }
  if (!current_.tokens.empty()) since_draft_ = 0;
  return current_.tokens;
}

void Speculation::pass_begins() {
  if (policy_.ready()) {
    const int64_t k = std::ssize(current_.tokens);
    tokens_foreseen_ += policy_.expected_tokens(current_.kind, k);
    seconds_foreseen_ += policy_.expected_seconds(k);
  }
  pass_start_ = seconds_();
}

void Speculation::pass_ended(int64_t accepted, int64_t tokens) {
  const double seconds = seconds_() - pass_start_;
  const int64_t drafted = std::ssize(current_.tokens);
  if (policy_.ready()) {
    tokens_ += tokens;
    seconds_spent_ += seconds + drafting_;
  }
  policy_.saw_pass(drafted + 1, seconds);
  ++stats_.passes;
  if (drafted > 0) {
    policy_.saw_draft(current_.kind, drafted, accepted);
    ++stats_.drafts;
    stats_.drafted += drafted;
    stats_.accepted += accepted;
  }
}

DraftStats Speculation::stats() const {
  DraftStats out = stats_;
  if (tokens_ == 0 || seconds_spent_ <= 0 || seconds_foreseen_ <= 0) return out;
  const double plain = policy_.pass_seconds(1);
  out.speedup = static_cast<double>(tokens_) / seconds_spent_ * plain;
  out.predicted_speedup = tokens_foreseen_ / seconds_foreseen_ * plain;
  return out;
}

}  // namespace frugal
