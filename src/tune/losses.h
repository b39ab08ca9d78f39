// What objectives over token sequences are made of.
#pragma once

#include <span>
#include <vector>

#include "models/model.h"
#include "train/loss.h"
#include "tune/packing.h"

namespace frugal {

// Supervised fine-tuning: mean cross-entropy of the learnt tokens of the step. The head runs on their rows
// only.
LossSums sft_objective(Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step,
                       double mtp_lambda);

// Log-probabilities of the learnt tokens under the model, by token and by sequence. With a tape they have
// gradients: put them in with backward_from() and run the tape.
struct SequenceLogProbs {
  Tensor tokens;                 // (R) 0 where nothing is learnt
  std::vector<int64_t> offsets;  // (S + 1)
  std::vector<int32_t> targets;  // (R)
  std::vector<double> sums;      // (S)
  std::vector<int64_t> counts;   // (S) learnt tokens

  // d loss / d token log-probability, (R).
  void backward_from(const Context& ctx, std::span<const float> token_gradients) const;
  // d loss / d sums, (S): the same for every learnt token of a sequence.
  void backward_from_sums(const Context& ctx, std::span<const double> sum_gradients) const;
};
SequenceLogProbs sequence_log_probs(Context& ctx, Model& model, const TrainRows& rows, float temperature = 1);

}  // namespace frugal
