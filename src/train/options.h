// The training stage of a recipe.
#pragma once

#include <cstdint>
#include <string>

#include "core/context.h"
#include "core/fields.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace frugal {

// What to do when a loss spikes or is not a number. Never silently go on.
enum class OnSpike { stop, rollback, skip };

struct TrainOptions {
  int64_t batch = 16;
  int64_t micro_batch = 0;
  int64_t context = 256;
  ScheduleOptions schedule;
  OptimizerOptions optimizer;
  double mtp_lambda = 0.3;
  double mtp_lambda_late = 0.1;
  double mtp_late = 0.68;
  double balance_alpha = 1e-4;
  double bias_update_speed = 1e-3;
  double bias_freeze = 0.034;
  std::string compute = "f32";
  bool recompute = false;
  int64_t eval_every = 0;
  int64_t evaluations = 0;  // spread over the budget, when eval_every is 0; set by whoever runs the training
  int64_t save_every = 0;
  double save_minutes = 10;
  int64_t keep_last = 2;
  std::string on_spike = "stop";
  double spike_threshold = 10;
  int64_t max_rollbacks = 5;

  void visit(FieldVisitor& v);
  int64_t tokens_per_step() const { return batch * context; }
  int64_t rows_at_once() const { return micro_batch > 0 && micro_batch < batch ? micro_batch : batch; }
  Compute compute_mode() const;
  OnSpike spike_action() const;
};
// UsageError naming the key, when a value is out of its range.
void check(const TrainOptions& options);

}  // namespace frugal
