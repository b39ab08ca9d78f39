// Speculative decoding of one reply (Leviathan et al. 2023): a drafter guesses, one pass of the model checks
// the guesses as rows of their own, and every token is chosen by the sampler from the model's logits with the
// random number of its position, exactly as without drafts. So the reply is the same token for token, at any
// temperature; and because a guess is a single token, it is accepted with the model's own probability of it,
// which is all that speculative sampling (§2.3) can accept.
#pragma once

#include <deque>
#include <functional>

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
  // `drafter` and `policy` outlive this; `policy` may have seen other replies; `seconds` reads a clock.
  Speculation(Drafter& drafter, DraftPolicy& policy, const DraftOptions& options,
              std::function<double()> seconds);

  // Tokens to check in the next pass behind `text`, at most `room`; none when that would lose.
  std::vector<int32_t> next(std::span<const int32_t> text, int64_t room);
  // The pass over the last token and the draft begins; then: `accepted` of its draft were right, and `tokens`
  // came out of it.
  void pass_begins();
  void pass_ended(int64_t accepted, int64_t tokens);
  DraftStats stats() const;

 private:
  // A draft, checked or not, for as long as the text agrees with it: what became of it costs nothing to see.
  struct Open {
    Draft draft;
    size_t at;         // where it begins in the text
    int64_t seen = 0;  // tokens that the text has reached
  };
  void watch(std::span<const int32_t> text);
  int64_t wanted_of_costly(int64_t most);

  Drafter& drafter_;
  DraftPolicy& policy_;
  DraftOptions options_;
  std::function<double()> seconds_;
  std::deque<Open> open_;
  Draft current_;  // what the pass under way checks
  double pass_start_ = 0, drafting_ = 0;
  // Plain passes that drafts may lose before they have gained some: what keeps a reply that goes against
  // every expectation from becoming slower by more than a hundredth.
  double spare_;
  int64_t since_plain_ = 0;                  // passes
  int64_t since_draft_ = 0, patience_ = 32;  // passes: a drafter that costs is tried again now and then
  DraftStats stats_;
  // Passes in the time of plain ones, which are 1 each.
  double cost_ = 0, cost_foreseen_ = 0, tokens_foreseen_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace frugal
