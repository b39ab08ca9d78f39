#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/profile.h"
#include "train/balance.h"

namespace frugal {
namespace {

constexpr double kForwardShare = 0.4;  // of a training step's cost: the guess before the first evaluation
constexpr double kWriteSpeed = 3e8;    // bytes a second: the guess before the first checkpoint

std::function<Spending()> wall_clock() {
  const auto start = std::chrono::steady_clock::now();
  return [start] {
    return Spending{std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 0, 0};
  };
}

}  // namespace

void StepRecord::visit(FieldVisitor& v) {
  v.field("step", step, "finished steps");
  v.field("tokens", tokens, "tokens trained on");
  v.field("loss", loss, "nats per target");
  v.field("mtp_loss", mtp_loss, "the same of multi-token prediction");
  v.field("balance_loss", balance_loss, "load balance loss, weighted");
  v.field("lr", lr, "learning rate");
  v.field("gradient_norm", gradient_norm, "before clipping");
  v.field("seconds", seconds, "of this step");
  v.field("tokens_per_second", tokens_per_second, "of this step");
  v.field("flops", flops, "of the model in this step");
  v.field("bytes", bytes, "of weights, gradients and optimizer state moved in this step");
  v.field("mfu", mfu, "share of the machine's peak");
  v.field("progress", progress, "share of the budget");
  v.field("remaining", remaining, "steps, -1 while unknown");
  v.field("spent_seconds", spent_seconds, "of the budget");
  v.field("load", load, "busiest expert over the mean, by layer");
}

void TrainResult::visit(FieldVisitor& v) {
  v.field("finished", finished, "the budget was used");
  v.field("steps", steps, "optimizer steps");
  v.field("tokens", tokens, "tokens trained on");
  v.field("loss", loss, "mean of the latest steps");
  v.field("val_bits_per_byte", bits_per_byte, "of the final evaluation");
  v.field("spent", spent, "");
  v.field("rollbacks", rollbacks, "times the run went back");
}

std::string_view to_string(TrainEvent::Kind kind) {
  switch (kind) {
    case TrainEvent::Kind::resumed:
      return "resumed";
    case TrainEvent::Kind::plan:
      return "plan";
    case TrainEvent::Kind::evaluation:
      return "evaluation";
    case TrainEvent::Kind::checkpoint:
      return "checkpoint";
    case TrainEvent::Kind::spike:
      return "spike";
    case TrainEvent::Kind::rollback:
      return "rollback";
    case TrainEvent::Kind::skipped:
      return "skipped";
    case TrainEvent::Kind::interrupted:
      return "interrupted";
  }
  CHECK(false, "no such event");
}

double training_flops_per_token(Model& model, int64_t context, bool with_mtp) {
  double flops = flops_per_token(model, context).training;
  const ModelShape shape = model.shape();
  if (!with_mtp || shape.mtp_depth == 0) return flops;
  double weights =
      static_cast<double>(shape.mtp_depth * shape.vocab_size * shape.hidden_size);  // the shared head again
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    const bool product = info.role == Role::matrix || info.role == Role::expert || info.role == Role::router;
    if (info.mtp && product) weights += static_cast<double>(value.size()) * info.activity;
  });
  model.visit(each);
  const double attention =
      model.attention_flops(static_cast<double>(context) / 2) / static_cast<double>(shape.layers);
  return flops + 3 * (2 * weights + static_cast<double>(shape.mtp_depth) * attention);
}

Trainer::Trainer(const Context& ctx, Model& model, BatchSource& data, const TrainOptions& options,
                 const Budget& budget, TrainerHooks hooks)
    : ctx_(ctx),
      model_(model),
      data_(data),
      options_((check(options), options)),
      hooks_(std::move(hooks)),
      plan_(budget, options.tokens_per_step()),
      spikes_(options.spike_threshold, std::log(static_cast<double>(model.shape().vocab_size))) {
  const ModelShape shape = model.shape();
  if (options.context > shape.max_positions) {
    fail_usage("train.context = {}: the model has positions for {} tokens", options.context,
               shape.max_positions);
  }
  if (options.spike_action() == OnSpike::rollback && hooks_.run.empty()) {
    fail_usage("train.on_spike = rollback needs checkpoints: name an output directory");
  }
  if ((budget.joules > 0 || budget.dollars > 0) && !hooks_.spent) {
    fail_usage("budget: joules and dollars need a meter");
  }
  if (!hooks_.spent) hooks_.spent = wall_clock();
  ctx_.compute = options.compute_mode();
  ctx_.stream_weights = false;
  ctx_.tape = nullptr;
  ctx_.aux = nullptr;
  model.set_recompute(options.recompute);
  parameters_ = trainable_parameters(model);
  if (parameters_.empty()) fail("the model has nothing to train: all of its parameters are frozen");
  optimizer_ = find_optimizer(options.optimizer.name).create(ctx_, parameters_, options.optimizer);
  flops_per_token_ = training_flops_per_token(model, options.context, options.mtp_lambda > 0);
  bytes_per_step_ = bytes_per_step();
  if (!hooks_.run.empty()) {
    store_ = std::make_unique<CheckpointStore>(hooks_.run, options.keep_last);
    prepare_snapshot();
  }
}

Trainer::~Trainer() = default;

void Trainer::tell(TrainEvent::Kind kind, const std::string& text, double value) const {
  if (hooks_.on_event) hooks_.on_event({kind, step_, text, value});
}

double Trainer::mtp_lambda() const {
  return plan_.progress(step_) < options_.mtp_late ? options_.mtp_lambda : options_.mtp_lambda_late;
}

double Trainer::learning_rate() const {
  return options_.optimizer.lr * learning_rate_factor(options_.schedule, step_, plan_.progress(step_));
}

void Trainer::check_batch(const TrainBatch& batch) const {
  CHECK(batch.rows == options_.batch && batch.length == options_.context);
  const int64_t vocab = model_.shape().vocab_size;
  const auto [low, high] = std::minmax_element(batch.tokens.begin(), batch.tokens.end());
  const int32_t target = *std::max_element(batch.targets.begin(), batch.targets.end());
  if (*low < 0 || std::max(*high, target) >= vocab) {
    fail("the data has token {}, the model's vocabulary has {}: the data was tokenised for another model",
         *low < 0 ? *low : std::max(*high, target), vocab);
  }
  if (target < 0) fail("step {}: the batch has nothing to predict", step_ + 1);
}

// Forward and backward read the weights, for each micro-batch; gradients are written, from the second
// micro-batch on read as well; their norm reads them, the update reads weights, gradients and state and
// writes weights and state.
double Trainer::bytes_per_step() {
  double weights = 0, state = 0;
  for (const Parameter& parameter : parameters_) weights += static_cast<double>(parameter.value.bytes());
  optimizer_->visit_state(
      [&](const std::string&, Tensor& value) { state += static_cast<double>(value.bytes()); });
  const int64_t at_once = options_.rows_at_once();
  const auto micro_batches = static_cast<double>((options_.batch + at_once - 1) / at_once);
  const double reads = options_.recompute ? 3 : 2;
  double frozen = 0;  // matrices that are met on the way forward and back all the same
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    if (value.shape().size() > 1 && !value.needs_gradient() && !info.mtp)
      frozen += static_cast<double>(value.bytes()) * info.activity;
  });
  model_.visit(each);
  return weights * ((reads + 2) * micro_batches - 1 + 4) + 2 * state + frozen * reads * micro_batches;
}

// Gradients of the whole step, micro-batch by micro-batch.
LossSums Trainer::accumulate(const TrainBatch& batch) {
  const double lambda = mtp_lambda();
  LossSums step = count_targets(batch, lambda > 0 ? model_.shape().mtp_depth : 0);
  aux_.clear();
  aux_.balance_alpha = options_.balance_alpha;
  aux_.balance_sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  const int64_t at_once = options_.rows_at_once();
  for (int64_t begin = 0; begin < batch.rows; begin += at_once) {
    const TrainBatch rows = slice_rows(batch, begin, std::min(batch.rows, begin + at_once));
    Tape tape;
    Context ctx = ctx_;
    ctx.tape = &tape;
    ctx.aux = &aux_;
    if (ctx.profile != nullptr) ctx.profile->phase("forward");
    step.add(hooks_.objective(ctx, model_, rows, step, lambda));
  }
  return step;
}

void Trainer::update(double gradient_norm, double lr) {
  const double clip = options_.optimizer.clip;
  const double scale = clip > 0 ? std::min(1.0, clip / (gradient_norm + 1e-6)) : 1.0;  // as PyTorch
  const ProfileScope scope(ctx_.profile, "optimizer");
  optimizer_->step(ctx_, lr, scale);
  if (plan_.progress(step_) < 1 - options_.bias_freeze)
    update_routing_biases(model_, aux_, options_.bias_update_speed);
}

void Trainer::train_step() {
  const Spending before = spent();
  if (ctx_.profile != nullptr) ctx_.profile->phase("update");
  const TrainBatch batch = [&] {
    const ProfileScope scope(ctx_.profile, "batch");
    return data_.next(options_.batch, options_.context);
  }();
  check_batch(batch);
  const LossSums sums = accumulate(batch);
  StepRecord record{.loss = sums.mean(), .mtp_loss = sums.mtp_mean(), .balance_loss = aux_.balance_loss()};
  if (ctx_.profile != nullptr) ctx_.profile->phase("update");
  {
    const ProfileScope scope(ctx_.profile, "gradient norm");
    record.gradient_norm = gradient_norm(ctx_, parameters_);
  }
  record.lr = learning_rate();
  const std::string trouble = spikes_.examine(record.loss, record.gradient_norm);
  if (trouble.empty()) update(record.gradient_norm, record.lr);
  for (const Parameter& parameter : parameters_) parameter.value.zero_gradient();
  if (!trouble.empty()) {
    on_trouble(trouble);
    return;
  }
  spikes_.accept(record.loss);
  ++step_;
  tokens_ += options_.tokens_per_step();
  const Spending now = spent(), cost = now - before;
  reserve_end(cost);
  plan_.step_done(step_, cost, now);
  const double tokens = static_cast<double>(options_.tokens_per_step());
  record.step = step_;
  record.tokens = tokens_;
  record.seconds = cost.seconds;
  record.tokens_per_second = cost.seconds > 0 ? tokens / cost.seconds : 0;
  record.flops = hooks_.flops ? hooks_.flops(batch) : flops_per_token_ * tokens;
  record.bytes = bytes_per_step_;
  if (hooks_.peak_flops > 0 && cost.seconds > 0) record.mfu = record.flops / cost.seconds / hooks_.peak_flops;
  record.progress = plan_.progress(step_);
  record.remaining = plan_.remaining(step_);
  record.spent_seconds = now.seconds;
  record.load = load_imbalance(aux_);
  record.expert_tokens = aux_.counts();
  if (hooks_.on_step) hooks_.on_step(record);
  if (plan_.revisions().size() > told_revisions_) {
    const PlanRevision& plan = plan_.revisions().back();
    tell(TrainEvent::Kind::plan, fmt::format("{} steps in all ({})", plan.step + plan.remaining, plan.reason),
         static_cast<double>(plan.step + plan.remaining));
  }
  told_revisions_ = plan_.revisions().size();
}

// Time that the end of the run will take, kept free by the plan.
void Trainer::reserve_end(const Spending& step_cost) {
  step_per_token_ = step_cost * (1.0 / static_cast<double>(options_.tokens_per_step()));
  if (hooks_.evaluate) {
    const Spending per_token =
        evaluation_per_token_.seconds > 0 ? evaluation_per_token_ : step_per_token_ * kForwardShare;
    plan_.reserve("final evaluation", per_token * static_cast<double>(hooks_.full_tokens));
  }
  if (store_ && step_cost.seconds > 0) {
    const double guess = static_cast<double>(snapshot_.bytes()) / kWriteSpeed;
    const double seconds = store_->seconds() > 0 ? store_->seconds() : guess;
    plan_.reserve("final checkpoint", step_cost * (seconds / step_cost.seconds));
  }
}

void Trainer::on_trouble(const std::string& what) {
  const std::string where = fmt::format("step {}: {}", step_ + 1, what);
  tell(TrainEvent::Kind::spike, where);
  const OnSpike action = options_.spike_action();
  if (action == OnSpike::stop) {
    if (store_) store_->wait();
    const auto latest = store_ ? store_->latest() : std::nullopt;
    fail(
        "{}. Training has stopped; {}. Set train.on_spike = \"rollback\" or \"skip\" to go on by itself, or "
        "lower the "
        "learning rate",
        where,
        latest ? "the last checkpoint is " + latest->filename().string() : "no checkpoint was written");
  }
  if (++rollbacks_ > options_.max_rollbacks) {
    fail("{}. This has happened {} times, train.max_rollbacks allows {}: lower the learning rate", where,
         rollbacks_, options_.max_rollbacks);
  }
  if (action == OnSpike::rollback) {
    roll_back(where);
    return;
  }
  // The batch counts as used, the model stays as it was.
  ++step_;
  tokens_ += options_.tokens_per_step();
  tell(TrainEvent::Kind::skipped, where + ": the step was left out");
}

bool Trainer::evaluation_due() {
  if (options_.eval_every > 0) return step_ % options_.eval_every == 0;
  const auto reached =
      static_cast<int64_t>(plan_.progress(step_) * static_cast<double>(options_.evaluations));
  return std::exchange(evaluations_done_, reached) < reached;
}

void Trainer::evaluate_now(bool full) {
  const Spending before = spent();
  const double bits = hooks_.evaluate(full);
  const Spending cost = spent() - before;
  const int64_t tokens = full ? hooks_.full_tokens : hooks_.quick_tokens;
  if (tokens > 0) evaluation_per_token_ = cost * (1.0 / static_cast<double>(tokens));
  if (!full) {
    const int64_t steps = step_ + std::max<int64_t>(plan_.remaining(step_), 0);
    plan_.periodic(
        "evaluation", cost,
        options_.eval_every > 0 ? options_.eval_every : std::max<int64_t>(1, steps / options_.evaluations));
  }
  if (full) bits_per_byte_ = bits;
  tell(TrainEvent::Kind::evaluation,
       fmt::format("{:.4f} {}{}", bits, hooks_.measured, full ? "" : " on a sample"), bits);
}

TrainResult Trainer::run() {
  if (plan_.done(step_)) {
    fail("the budget of {} is already spent: {} steps took {:.1f} minutes; raise the budget to train on",
         to_string(plan_.budget()), step_, spent().seconds / 60);
  }
  if (store_ && saved_step_ < 0 && options_.spike_action() == OnSpike::rollback) save(false);
  if (step_ == 0 && hooks_.evaluate_start) evaluate_now(false);
  while (!plan_.done(step_) && !stopped()) {
    train_step();
    if (store_) store_->check();
    if (plan_.done(step_) || stopped()) break;
    if (hooks_.evaluate && evaluation_due()) evaluate_now(false);
    if (save_due()) save(false);
  }
  const bool finished = plan_.done(step_);
  if (finished && hooks_.evaluate) evaluate_now(true);
  if (store_) save(true);
  if (!finished) tell(TrainEvent::Kind::interrupted, fmt::format("stopped after step {}", step_));
  return {finished, step_, tokens_, spikes_.mean(), bits_per_byte_, spent(), rollbacks_};
}

}  // namespace frugal
