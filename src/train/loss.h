// The pre-training objective: next-token cross-entropy plus multi-token prediction (DeepSeek-V3 report §2.2,
// eq. 24-25):
//   L = mean CE + lambda / D * sum over depths k of mean CE_k
// A step's rows may be split into micro-batches in any way: means are over the targets of the whole step.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/context.h"
#include "data/batch.h"
#include "models/model.h"

namespace frugal {

// Of one step: sums of nats and targets that count, for the main head and for every depth.
struct LossSums {
  double main = 0;
  int64_t targets = 0;
  std::vector<double> mtp;           // (D)
  std::vector<int64_t> mtp_targets;  // (D)

  void add(const LossSums& other);  // sums of nats only
  double mean() const { return targets > 0 ? main / static_cast<double>(targets) : 0; }
  double mtp_mean() const;  // averaged over depths; 0 without modules
};

// The targets of a whole step, with sums of nats zero.
LossSums count_targets(const TrainBatch& batch, int64_t mtp_depth);

// Rows [begin, end) of a batch as a batch of their own.
TrainBatch slice_rows(const TrainBatch& batch, int64_t begin, int64_t end);

// Runs some rows of a step forward and backward and adds to the gradients (forward only without ctx.tape).
// `step` holds the targets of the whole step. Returns the sums of nats of these rows.
using Objective = std::function<LossSums(Context& ctx, Model& model, const TrainBatch& rows,
                                         const LossSums& step, double mtp_lambda)>;

LossSums next_token_objective(Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step,
                              double mtp_lambda);

// What multi-token prediction adds to `sums` and to the gradients, given the model's forward pass of these
// rows.
void add_mtp_losses(Context& ctx, Model& model, const Hidden& hidden, const TrainBatch& rows,
                    const LossSums& step, double mtp_lambda, LossSums& sums);
// Rows as a model takes them.
Batch to_batch(const TrainBatch& rows);

// Sum of nats and number of targets of the main head, without gradients. With a cache, whose slots are empty
// and stay so, attention reads keys and values as the cache stores them.
LossSums evaluate_rows(Context& ctx, Model& model, const TrainBatch& rows, Cache* cache = nullptr);

}  // namespace frugal
