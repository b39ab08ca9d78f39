// Learning from preferences without a reward model: DPO (Rafailov et al. 2023, eq. 7) and IPO (Azar et al.
// 2023, eq. 17).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tune/example.h"

namespace frugal {

// Two replies to one prompt.
struct Preference {
  Example chosen, rejected;
};

// A line of JSON Lines, in any of these layouts; errors start with FILE:LINE and name the field.
//   {"prompt": "text", "chosen": "text", "rejected": "text"}     plain text without a chat template
//   {"prompt": [{"role", "content"}, ...], "chosen": ..., "rejected": ...}   lists of messages, or the
//   reply's text
//   {"chosen": [...], "rejected": [...]}   whole conversations; where they begin alike is the prompt
Preference parse_preference(const Record& record);
std::vector<Preference> read_preferences(const std::vector<std::string>& patterns, std::string_view where);

// What a model says of a reply: the sum of its tokens' log-probabilities, and how many they are.
struct ReplyLogProb {
  double sum = 0;
  int64_t tokens = 0;
};

enum class PreferenceLoss { sigmoid, ipo };

// With h the model's log-ratio of chosen to rejected over the reference's:
//   sigmoid   -log sigma(beta h)
//   ipo       (h - 1 / (2 beta))^2, with means over a reply's tokens for sums (a long reply counts as a short
//   one)
struct PairLoss {
  double loss = 0;
  double chosen_gradient = 0, rejected_gradient = 0;  // d loss / d sum of the model
  // The implicit rewards beta (log pi - log pi_ref).
  double chosen_reward = 0, rejected_reward = 0;
};
PairLoss pair_loss(PreferenceLoss kind, double beta, const ReplyLogProb& chosen, const ReplyLogProb& rejected,
                   double chosen_reference, double rejected_reference);

}  // namespace frugal
