// The memory preflight: before the first step, a dry run of one (the same code, computing nothing and
// touching no memory) tells how much a run will need; a run that cannot fit ends with a message and not with
// the kernel's killer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/context.h"
#include "core/files.h"
#include "models/model.h"
#include "train/loss.h"
#include "train/options.h"

namespace frugal {

struct MemoryNeed {
  int64_t parameters = 0;  // weights
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t activations = 0;  // of a micro-batch at their peak, optimizer scratch included
  int64_t snapshot = 0;     // the copy that is written while training goes on
  int64_t total() const { return parameters + gradients + optimizer + activations + snapshot; }
};

// What is to be trained, when that is not every parameter of a new model.
struct TrainingPlan {
  // The model with what is trained allocated from `dry` and having gradients; it may share storage with a
  // real one.
  std::function<Model&(Context& dry)> prepare;
  Objective objective = next_token_objective;
};
// A new model as `create` declares it (create_model), all of it trained; `kept` holds it while the plan is in
// use.
TrainingPlan whole_model(std::function<std::unique_ptr<Model>()> create, std::unique_ptr<Model>& kept);

MemoryNeed training_memory(const Context& ctx, const TrainingPlan& plan, const TrainOptions& options,
                           bool checkpoints);

// `create` gives the model declared (create_model). `checkpoints`: whether the run writes any.
MemoryNeed training_memory(const Context& ctx, const std::function<std::unique_ptr<Model>()>& create,
                           const TrainOptions& options, bool checkpoints);

// Bytes this process can still take: what /proc/meminfo calls available, within the limits of its control
// groups.
int64_t available_memory(const fs::path& proc = "/proc", const fs::path& cgroup = "/sys/fs/cgroup");

// Error "training needs 9.1 GB, this machine has 6.0 GB ..." with what takes the room and what would fit.
void require_memory(const Context& ctx, const TrainingPlan& plan, const TrainOptions& options,
                    bool checkpoints, int64_t available);
void require_memory(const Context& ctx, const std::function<std::unique_ptr<Model>()>& create,
                    const TrainOptions& options, bool checkpoints, int64_t available);

}  // namespace frugal
