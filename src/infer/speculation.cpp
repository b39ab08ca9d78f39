#include "infer/speculation.h"

#include <algorithm>

#include "core/error.h"

namespace frugal {
namespace {

// In plain passes: what may be lost at first, what each pass adds, and what gains add up to at most, so that
// a passage that repeats itself does not pay for many wrong drafts behind it.
constexpr double kSpareFirst = 0.5, kSpareEach = 0.01, kSpareMost = 2;
constexpr int64_t kRefresh = 48;  // passes until a plain one is due, for its time grows with the text

}  // namespace

Speculation::Speculation(Drafter& drafter, DraftPolicy& policy, const DraftOptions& options,
                         std::function<double()> seconds)
    : drafter_(drafter),
      policy_(policy),
      options_(options),
      seconds_(std::move(seconds)),
      spare_(kSpareFirst) {
  policy_.begin_reply();
}

// Compares the drafts so far with what the text has become.
void Speculation::watch(std::span<const int32_t> text) {
  std::erase_if(open_, [&](Open& open) {
    const auto known = text.subspan(open.at);
    while (open.seen < std::min(std::ssize(known), std::ssize(open.draft.tokens))) {
      const auto i = static_cast<size_t>(open.seen);
      const bool right = open.draft.tokens[i] == known[i];
      policy_.saw_token(open.draft.kind, open.seen++, right);
      if (!right) return true;
    }
    return open.seen == std::ssize(open.draft.tokens);
  });
}

// Of a drafter whose drafts cost time: to be decided before there is one.
int64_t Speculation::wanted_of_costly(int64_t most) {
  const int64_t wanted = policy_.choose(0, most, spare_);
  if (wanted > 0 || since_draft_ <= patience_) return wanted;
  patience_ = std::min<int64_t>(1024, patience_ * 2);
  return 1;
}

std::vector<int32_t> Speculation::next(std::span<const int32_t> text, int64_t room) {
  watch(text);
  current_ = {};
  drafting_ = 0;
  ++since_draft_;
  const int64_t most = std::min(room, options_.longest);
  if (most < 1) return {};
  if (!options_.always && (!policy_.ready() || since_plain_ >= kRefresh)) return {};
  const bool decide_first = !drafter_.free() && !options_.always;
  const int64_t wanted = decide_first ? wanted_of_costly(most) : most;
  if (wanted == 0) return {};
  const double start = seconds_();
  current_ = drafter_.propose(text, wanted);
  drafting_ = seconds_() - start;
  if (current_.tokens.empty()) return {};
  open_.push_back({current_, text.size()});
  if (!drafter_.free()) policy_.saw_drafting(std::ssize(current_.tokens), drafting_);
  if (drafter_.free() && !options_.always) {
    current_.tokens.resize(
        static_cast<size_t>(policy_.choose(current_.kind, std::ssize(current_.tokens), spare_)));
  }
  if (!current_.tokens.empty()) since_draft_ = 0;
  return current_.tokens;
}

void Speculation::pass_begins() {
  const int64_t k = std::ssize(current_.tokens);
  if (k == 0) {
    tokens_foreseen_ += 1;
    cost_foreseen_ += 1;
  } else if (policy_.ready()) {
    tokens_foreseen_ += policy_.expected_tokens(current_.kind, k);
    cost_foreseen_ += policy_.expected_cost(k);
  }
  pass_start_ = seconds_();
}

void Speculation::pass_ended(int64_t accepted, int64_t tokens) {
  const double seconds = seconds_() - pass_start_;
  const int64_t drafted = std::ssize(current_.tokens);
  ++stats_.passes;
  ++since_plain_;
  spare_ = std::min(kSpareMost, spare_ + kSpareEach);
  if (drafted == 0) {
    since_plain_ = 0;
    tokens_ += tokens;
    cost_ += 1;
  } else {
    ++stats_.drafts;
    stats_.drafted += drafted;
    stats_.accepted += accepted;
    if (policy_.ready()) {
      tokens_ += tokens;
      cost_ += (seconds + drafting_) / policy_.plain_seconds();
      // By what such passes take as a rule: an interruption is not the draft's fault.
      const double gain = static_cast<double>(tokens) - policy_.expected_cost(drafted);
      spare_ = std::clamp(spare_ + gain, 0.0, kSpareMost);
    }
  }
  policy_.saw_pass(drafted + 1, seconds);
}

DraftStats Speculation::stats() const {
  DraftStats out = stats_;
  if (tokens_ == 0) return out;
  out.speedup = static_cast<double>(tokens_) / cost_;
  out.predicted_speedup = tokens_foreseen_ / cost_foreseen_;
  return out;
}

}  // namespace frugal
