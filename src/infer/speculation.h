// Speculative decoding of one reply (Leviathan et al. 2023): a drafter guesses, one pass of the model checks
// the guesses as rows of their own, and every token is chosen by the sampler from the model's logits with the
// random number of its position, exactly as without drafts. So the reply is the same token for token, at any
// temperature; and because a guess is a single token, it is accepted with the model's own probability of it,
// which is all that speculative sampling (§2.3) can accept.
#pragma once

#include <functional>
#include <optional>

#include "infer/draft_policy.h"
#include "infer/drafter.h"

namespace frugal {

struct DraftOptions {
  DraftKind kind = DraftKind::off;
  int64_t longest = 8;  // tokens in a draft
  bool always = false;  // check every draft, also where that loses: to measure, to test
};

struct DraftStats {
  int64_t passes = 0;                 // that decoded
  int64_t drafts = 0;                 // passes that checked a draft
  int64_t drafted = 0, accepted = 0;  // tokens
  double speedup = 1;                 // tokens a second over those of plain passes, as timed in this reply
  double predicted_speedup = 1;       // the same, as foreseen before each pass
  double acceptance() const {
    return drafted > 0 ? static_cast<double>(accepted) / static_cast<double>(drafted) : 0;
  }
};

class Speculation {
 public:
  // `drafter` outlives this; `seconds` reads a clock.
  Speculation(Drafter& drafter, const DraftOptions& options, std::function<double()> seconds);

  // Tokens to check in the next pass behind `text`, at most `room`; none when that would lose.
  std::vector<int32_t> next(std::span<const int32_t> text, int64_t room);
  // The pass over the last token and the draft begins; then: `accepted` of its draft were right, and `tokens`
  // came out of it.
  void pass_begins();
  void pass_ended(int64_t accepted, int64_t tokens);
  DraftStats stats() const;
  const DraftPolicy& policy() const { return policy_; }

 private:
  void watch(std::span<const int32_t> text);

  Drafter& drafter_;
  DraftOptions options_;
  std::function<double()> seconds_;
  DraftPolicy policy_;
  Draft current_;
  double pass_start_ = 0, drafting_ = 0;
  // A draft that was not checked, to see for free whether it would have been right.
  struct Watched {
    Draft draft;
    size_t at;
  };
  std::optional<Watched> watched_;
  int64_t since_draft_ = 0, patience_ = 32;  // passes: a drafter that costs is tried again now and then
  DraftStats stats_;
  double seconds_spent_ = 0, seconds_foreseen_ = 0, tokens_foreseen_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace frugal
