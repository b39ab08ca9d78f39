#include "train/preflight.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>

#include "core/error.h"
#include "train/loss.h"

namespace frugal {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
constexpr double kMargin = 1.05;                 // sequence data, threads' scratch, the allocator's rounding
constexpr int64_t kProgram = int64_t{64} << 20;  // code, stacks, scratch

TrainBatch blank_batch(int64_t rows, int64_t length) {
  const auto size = static_cast<size_t>(rows * length);
  TrainBatch batch{rows,
                   length,
                   std::vector<int32_t>(size, 0),
                   std::vector<int32_t>(size, 0),
                   std::vector<int32_t>(size),
                   std::vector<int32_t>(size, 0),
                   {}};
  for (size_t i = 0; i < size; ++i)
    batch.positions[i] = static_cast<int32_t>(i % static_cast<size_t>(length));
  for (int64_t r = 0; r <= rows; ++r) batch.offsets.push_back(r * length);
  return batch;
}

double gigabytes(double bytes) {
  return bytes / 1e9;
}

// "9.1 GB": one digit, but never 0.0.
std::string readable(int64_t bytes) {
  const double size = static_cast<double>(bytes);
  return size < 5e7 ? fmt::format("{:.1f} MB", size / 1e6) : fmt::format("{:.2f} GB", gigabytes(size));
}

int64_t number_in(const fs::path& file) {
  std::error_code error;
  if (!fs::exists(file, error)) return -1;
  const std::string text = read_file(file);
  int64_t value = -1;
  std::from_chars(text.data(), text.data() + text.size(), value);  // "max" leaves -1: no limit
  return value;
}

// The value behind `key` in lines of "key value" or "key: value kB".
int64_t field_in(const fs::path& file, const std::string& key) {
  std::error_code error;
  if (!fs::exists(file, error)) return -1;
  std::istringstream lines(read_file(file));
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string name, unit;
    int64_t value = -1;
    if (words >> name >> value && (name == key || name == key + ":")) {
      return words >> unit && unit == "kB" ? value * 1024 : value;
    }
  }
  return -1;
}

// Room left in one control group (version 2); file pages count as room, since the kernel drops them.
int64_t room_in(const fs::path& group) {
  const int64_t limit = number_in(group / "memory.max"), used = number_in(group / "memory.current");
  if (limit < 0 || used < 0) return kUnlimited;
  const int64_t files = std::max<int64_t>(0, field_in(group / "memory.stat", "inactive_file")) +
                        std::max<int64_t>(0, field_in(group / "memory.stat", "active_file"));
  return std::max<int64_t>(0, limit - used + std::min(files, used));
}

// This process's group below the mount point: the line "0::/a/b" of /proc/self/cgroup.
fs::path own_group(const fs::path& proc) {
  std::error_code error;
  const fs::path file = proc / "self" / "cgroup";
  if (!fs::exists(file, error)) return {};
  std::istringstream lines(read_file(file));
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with("0::/")) return line.substr(4);
  }
  return {};
}

}  // namespace

MemoryNeed training_memory(const Context& ctx, const TrainingPlan& plan, const TrainOptions& options,
                           bool checkpoints) {
  Context dry = ctx;
  dry.memory = Allocator::create(true);
  dry.compute = options.compute_mode();
  dry.stream_weights = false;
  MemoryNeed need;
  const auto now = [&] { return static_cast<int64_t>(dry.memory->in_use()); };
  Model& model = plan.prepare(dry);
  need.parameters = now();
  model.set_recompute(options.recompute);
  const std::vector<Parameter> parameters = trainable_parameters(model);
  for (const Parameter& parameter : parameters) parameter.value.gradient_target(dry);
  need.gradients = now() - need.parameters;
  const auto optimizer = find_optimizer(options.optimizer.name).create(dry, parameters, options.optimizer);
  need.optimizer = now() - need.parameters - need.gradients;
  if (checkpoints) need.snapshot = need.parameters + need.optimizer;

  Tape tape;
  Aux aux;
  Context step = dry;
  step.tape = &tape;
  step.aux = &aux;
  const int64_t before = now();
  const TrainBatch batch = blank_batch(options.rows_at_once(), options.context);
  const bool mtp = std::max(options.mtp_lambda, options.mtp_lambda_late) > 0;
  const LossSums targets = count_targets(batch, mtp ? model.shape().mtp_depth : 0);
  plan.objective(step, model, batch, targets, options.mtp_lambda);
  optimizer->step(dry, 0, 1);
  // Blocks of one size do not serve another: what the allocator keeps counts, not what is in use at the peak.
  need.activations = static_cast<int64_t>(dry.memory->mapped()) - before;
  return need;
}

TrainingPlan whole_model(std::function<std::unique_ptr<Model>()> create, std::unique_ptr<Model>& kept) {
  return {[create = std::move(create), &kept](Context& dry) -> Model& {
    kept = create();
    initialise(dry, *kept, 0);
    make_trainable(*kept);
    return *kept;
  }};
}

MemoryNeed training_memory(const Context& ctx, const std::function<std::unique_ptr<Model>()>& create,
                           const TrainOptions& options, bool checkpoints) {
  std::unique_ptr<Model> kept;
  return training_memory(ctx, whole_model(create, kept), options, checkpoints);
}

int64_t available_memory(const fs::path& proc, const fs::path& cgroup) {
  int64_t room = field_in(proc / "meminfo", "MemAvailable");
  if (room < 0) room = kUnlimited;
  // A process is bound by its own group and every one above it.
  for (fs::path group = own_group(proc);; group = group.parent_path()) {
    room = std::min(room, room_in(group.empty() ? cgroup : cgroup / group));
    if (group.empty()) break;
  }
  return room;
}

void require_memory(const Context& ctx, const std::function<std::unique_ptr<Model>()>& create,
                    const TrainOptions& options, bool checkpoints, int64_t available) {
  std::unique_ptr<Model> kept;
  require_memory(ctx, whole_model(create, kept), options, checkpoints, available);
}

void require_memory(const Context& ctx, const TrainingPlan& plan, const TrainOptions& options,
                    bool checkpoints, int64_t available) {
  const auto total = [&](const MemoryNeed& need) {
    return static_cast<int64_t>(static_cast<double>(need.total()) * kMargin) + kProgram;
  };
  const MemoryNeed need = training_memory(ctx, plan, options, checkpoints);
  if (total(need) <= available) return;
  std::string advice = "a smaller model or train.context needs less";
  TrainOptions smaller = options;
  smaller.recompute = true;
  for (int64_t rows = options.rows_at_once(); rows >= 1; rows /= 2) {
    smaller.micro_batch = rows;
    const int64_t bytes = total(training_memory(ctx, plan, smaller, checkpoints));
    if (bytes <= available) {
      advice =
          fmt::format("train.recompute = true and train.micro_batch = {} need {}", rows, readable(bytes));
      break;
    }
  }
  fail(
      "training needs {}, this machine has {} to give: weights {}, gradients {}, optimizer {}, activations "
      "{}, "
      "checkpoint copy {}; {}",
      readable(total(need)), readable(available), readable(need.parameters), readable(need.gradients),
      readable(need.optimizer), readable(need.activations), readable(need.snapshot), advice);
}

}  // namespace frugal
