// The training loop: budget to step plan, batches to gradients, gradients to updates, checkpoints,
// evaluation, and what happens when a loss spikes or someone wants to stop. It prints nothing: whoever runs
// it gets a record of every step and every event.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autograd/aux.h"
#include "core/files.h"
#include "models/model.h"
#include "train/batch_source.h"
#include "train/budget.h"
#include "train/checkpoint.h"
#include "train/loss.h"
#include "train/options.h"
#include "train/spike.h"

namespace frugal {

// A line of log.jsonl.
struct StepRecord {
  int64_t step = 0;    // finished steps, this one included
  int64_t tokens = 0;  // trained on so far
  double loss = 0;     // mean nats per target of the main head
  double mtp_loss = 0;
  double balance_loss = 0;
  double lr = 0;
  double gradient_norm = 0;  // before clipping
  double seconds = 0;        // this step
  double tokens_per_second = 0;
  double flops = 0;  // of the model, this step
  double bytes = 0;  // of weights, gradients and optimizer state that cross memory at least once, this step
  double mfu = 0;    // 0 when the peak is unknown
  double progress = 0;
  int64_t remaining = 0;     // steps; -1 while unknown
  double spent_seconds = 0;  // of the budget
  std::vector<double> load;  // busiest expert over the mean, by layer
  // Tokens that each expert received in this step, by layer; not visited, so that a line stays short.
  std::map<int, std::vector<int64_t>> expert_tokens;

  void visit(FieldVisitor& v);
};

struct TrainEvent {
  enum class Kind { resumed, plan, evaluation, checkpoint, spike, rollback, skipped, interrupted };
  Kind kind;
  int64_t step = 0;
  std::string text;  // for people
  double value = 0;  // evaluation: what was measured; plan: steps in all; rollback: the step gone back to
};
std::string_view to_string(TrainEvent::Kind kind);

// What a trainer may be given besides model and data; all of it may be left out.
struct TrainerHooks {
  fs::path run;  // where checkpoints go; empty: none are written
  // Files of model/ besides config and weights (tokenizer.json, ...), by name.
  std::map<std::string, std::string> model_files;
  // What checkpoints hold instead of the whole model (an adapter); its tensors share storage with those
  // trained.
  std::optional<SavedModel> saved;
  std::function<void(const StepRecord&)> on_step;
  std::function<void(const TrainEvent&)> on_event;
  // Validation bits per byte (or what `measured` says), on a sample or in full, and how many tokens each
  // reads (for the budget).
  std::function<double(bool full)> evaluate;
  std::string measured = "bits per byte";
  int64_t quick_tokens = 0, full_tokens = 0;
  bool evaluate_start = false;  // a sample before the first step; only with evaluations on the way
  // Spent by this process since the trainer was made; by default wall-clock seconds alone.
  std::function<Spending()> spent;
  double peak_flops = 0;  // of the machine, for MFU
  // FLOPs of the model for a step's batch; by default those of pre-training every token.
  std::function<double(const TrainBatch&)> flops;
  const std::atomic<bool>* stop = nullptr;  // when true: save and return
  Objective objective = next_token_objective;
  std::string extra = "null";  // JSON kept in state (ledger ids)
};

struct TrainResult {
  bool finished = false;  // false: interrupted
  int64_t steps = 0, tokens = 0;
  double loss = 0;           // mean of the latest steps
  double bits_per_byte = 0;  // final evaluation (what hooks.evaluate gives); 0 without one
  Spending spent;
  int64_t rollbacks = 0;

  void visit(FieldVisitor& v);
};

class Trainer {
 public:
  // The model's parameters (and adapters beside them) are allocated and trainable ones have gradients.
  // Everything referred to must outlive the trainer. UsageError for options, Error for a model that cannot be
  // trained as asked.
  Trainer(const Context& ctx, Model& model, BatchSource& data, const TrainOptions& options,
          const Budget& budget, TrainerHooks hooks);
  ~Trainer();

  // Goes on from the run directory's latest checkpoint; false when there is none. Error when it is damaged or
  // of another model, optimizer or data.
  bool resume();
  // Until the budget is spent or `stop` is set; ends with a checkpoint. Error when the budget is spent
  // already.
  TrainResult run();

  int64_t step() const { return step_; }
  const StepPlan& plan() const { return plan_; }
  // What was kept as `extra` by the run that was resumed.
  const std::string& resumed_extra() const { return resumed_extra_; }

 private:
  double bytes_per_step();
  LossSums accumulate(const TrainBatch& batch);
  void train_step();
  void update(double gradient_norm, double lr);
  void check_batch(const TrainBatch& batch) const;
  void on_trouble(const std::string& what);
  void roll_back(const std::string& what);
  void load_tensors(const Checkpoint& checkpoint);
  void evaluate_now(bool full);
  void save(bool wait);
  bool save_due() const;
  bool evaluation_due();
  void prepare_snapshot();
  void take_snapshot();
  std::string state_text() const;
  void reserve_end(const Spending& step_cost);
  bool stopped() const { return hooks_.stop != nullptr && *hooks_.stop; }
  Spending spent() const { return spent_before_ + hooks_.spent(); }
  double mtp_lambda() const;
  double learning_rate() const;
  void tell(TrainEvent::Kind kind, const std::string& text, double value = 0) const;

  Context ctx_;
  Model& model_;
  BatchSource& data_;
  TrainOptions options_;
  TrainerHooks hooks_;
  StepPlan plan_;
  SpikeDetector spikes_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<CheckpointStore> store_;
  SavedModel saved_;  // live
  Snapshot snapshot_;
  Aux aux_;
  double flops_per_token_ = 0, bytes_per_step_ = 0;
  int64_t step_ = 0, tokens_ = 0, rollbacks_ = 0;
  double bits_per_byte_ = 0;
  Spending spent_before_;                           // by earlier processes
  Spending step_per_token_, evaluation_per_token_;  // what the latest ones cost
  int64_t saved_step_ = -1;
  double saved_at_ = 0;           // seconds spent at the last checkpoint
  int64_t evaluations_done_ = 0;  // of options.evaluations
  size_t told_revisions_ = 0;
  std::string resumed_extra_ = "null";
};

// FLOPs of the model per token in training at this context, multi-token prediction included when it is
// trained.
double training_flops_per_token(Model& model, int64_t context, bool with_mtp);

}  // namespace frugal
