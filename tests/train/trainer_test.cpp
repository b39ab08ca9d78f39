#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "train/balance.h"
#include "train/fixtures.h"

namespace frugal {
namespace {

struct Outcome {
  std::vector<StepRecord> records;
  std::vector<TrainEvent> events;
  TrainResult result;
  std::vector<float> weights;

  int64_t count(TrainEvent::Kind kind) const {
    return std::count_if(events.begin(), events.end(),
                         [kind](const TrainEvent& e) { return e.kind == kind; });
  }
};

class TrainerTest : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};

  Outcome train(const TrainOptions& options, const Budget& budget, TrainerHooks hooks = {}, int threads = 1,
                std::string_view config = kTinyV3, bool mask = false) {
    ThreadPool own(threads);
    Context context{own, kernels::best()};
    auto model = tiny_model(context, config);
    TinyData data(48, mask);
    Outcome run;
    const auto on_step = hooks.on_step;
    hooks.on_step = [&](const StepRecord& record) {
      run.records.push_back(record);
      if (on_step) on_step(record);
    };
    hooks.on_event = [&](const TrainEvent& event) { run.events.push_back(event); };
    Trainer trainer(context, *model, data, options, budget, hooks);
    run.result = trainer.run();
    run.weights = all_values(*model);
    return run;
  }
};

TEST_F(TrainerTest, TheLossFallsWithEveryOptimizer) {
  for (const OptimizerKind& kind : all_optimizers()) {
    for (const std::string_view config : {kTinyV3, kTinyLlama, kTinyGptOss}) {
      TrainOptions options = tiny_options();
      options.optimizer.name = kind.name;
      const Outcome run = train(options, {.steps = 150}, {}, 1, config);
      ASSERT_EQ(run.records.size(), 150u);
      EXPECT_NEAR(run.records.front().loss, std::log(48), 1.0);
      EXPECT_LT(run.records.back().loss, 2.0) << kind.name;
      EXPECT_TRUE(run.result.finished);
      EXPECT_EQ(run.result.tokens, 150 * 4 * 24);
      EXPECT_EQ(run.records.back().remaining, 0);
      EXPECT_DOUBLE_EQ(run.records.back().progress, 1);
      const double mtp_fall = run.records.front().mtp_loss - run.records.back().mtp_loss;
      EXPECT_GE(mtp_fall, config == kTinyV3 ? 1.0 : 0.0);
    }
  }
}

TEST_F(TrainerTest, BytesOfAStepFollowFromItsPasses) {
  auto model = tiny_model(ctx);
  double weights = 0;
  for (const Parameter& p : trainable_parameters(*model)) weights += static_cast<double>(p.value.bytes());
  const auto bytes = [&](int64_t micro_batch, bool recompute) {
    TrainOptions options = tiny_options();
    options.micro_batch = micro_batch;
    options.recompute = recompute;
    return train(options, {.steps = 1}).records[0].bytes;
  };
  // Read twice, gradients written and read for their norm; AdamW reads weights, gradients and two moments and
  // writes weights and moments.
  EXPECT_EQ(bytes(0, false), (2 + 1 + 1 + 2 + 2 + 1 + 2) * weights);
  EXPECT_EQ(bytes(2, false), (2 * (2 + 2) - 1 + 1 + 2 + 2 + 1 + 2) * weights);
  EXPECT_EQ(bytes(0, true), bytes(0, false) + weights);
}

// Gradients of one step, for any way of splitting it.
std::vector<float> step_gradients(int64_t micro_batch, bool recompute, bool mask, int threads, Aux& aux) {
  ThreadPool pool(threads);
  Context ctx{pool, kernels::best()};
  auto model = tiny_model(ctx);
  model->set_recompute(recompute);
  TinyData data(48, mask);
  const TrainBatch batch = data.next(6, 24);
  LossSums step = count_targets(batch, 1);
  aux = Aux{};
  aux.balance_alpha = 0.1;
  aux.balance_sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  for (int64_t begin = 0; begin < batch.rows; begin += micro_batch) {
    Tape tape;
    ctx.tape = &tape;
    ctx.aux = &aux;
    const TrainBatch rows = slice_rows(batch, begin, std::min(batch.rows, begin + micro_batch));
    step.add(next_token_objective(ctx, *model, rows, step, 0.3));
  }
  std::vector<float> out = {static_cast<float>(step.mean()), static_cast<float>(step.mtp_mean()),
                            static_cast<float>(aux.balance_loss())};
  for (const Parameter& p : trainable_parameters(*model)) {
    const auto g = p.value.gradient_values();
    out.insert(out.end(), g.begin(), g.end());
  }
  return out;
}

TEST(Objective, MicroBatchesRecomputationAndThreadsChangeNothing) {
  for (const bool mask : {false, true}) {
    Aux whole, other;
    const std::vector<float> reference = step_gradients(6, false, mask, 2, whole);
    for (const int64_t micro_batch : {1, 2, 4}) {
      const std::vector<float> split = step_gradients(micro_batch, false, mask, 2, other);
      ASSERT_EQ(split.size(), reference.size());
      for (size_t i = 0; i < split.size(); ++i)
        EXPECT_NEAR(split[i], reference[i], 2e-6 + 2e-5 * std::abs(reference[i]));
      EXPECT_EQ(whole.counts(), other.counts());
    }
    EXPECT_TRUE(same_bits(step_gradients(6, true, mask, 2, other), reference));
    EXPECT_EQ(whole.counts(), other.counts());
    EXPECT_TRUE(same_bits(step_gradients(6, false, mask, 1, other), reference));
    EXPECT_TRUE(same_bits(step_gradients(6, false, mask, 3, other), reference));
  }
}

TEST(Objective, MtpTargetsStayInTheirDocument) {
  TinyData data;
  const TrainBatch batch = data.next(3, 24);
  int64_t expected = 0;
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i + 2 < 24; ++i) {
      const auto at = static_cast<size_t>(r * 24 + i);
      expected += batch.document[at] == batch.document[at + 2] && batch.targets[at + 2] >= 0;
    }
  }
  EXPECT_EQ(count_targets(batch, 2).mtp_targets[1], expected);
}

TEST(Balance, BiasesMoveTowardsTheMean) {
  ThreadPool pool(1);
  Context ctx{pool, kernels::best()};
  auto model = tiny_model(ctx);
  const auto routing = model->routing_biases();
  ASSERT_EQ(routing.size(), 2u);  // one MoE layer and the MTP module's
  Aux aux;
  const std::vector<int64_t> loads = {3, 4, 5, 4, 0, 8, 4, 4};
  aux.add_counts(routing[0].layer, loads);
  update_routing_biases(*model, aux, 0.25);
  const std::vector<float> expected = {0.25f, 0, -0.25f, 0, 0.25f, -0.25f, 0, 0};
  for (size_t e = 0; e < 8; ++e) EXPECT_EQ(routing[0].bias->values()[e], expected[e]);
  for (size_t e = 0; e < 8; ++e) EXPECT_EQ(routing[1].bias->values()[e], 0);  // it saw no tokens
  EXPECT_EQ(load_imbalance(aux), std::vector<double>{2.0});
}

TEST_F(TrainerTest, RoutingBiasesRestAtTheEnd) {
  TrainOptions options = tiny_options();
  options.bias_freeze = 1;
  const Outcome frozen = train(options, {.steps = 5});
  options.bias_freeze = 0;
  const Outcome moving = train(options, {.steps = 5});
  EXPECT_FALSE(same_bits(frozen.weights, moving.weights));
}

TEST_F(TrainerTest, MinutesLandWithinThreePercent) {
  Spending clock;
  TrainerHooks hooks;
  hooks.spent = [&] { return clock; };
  // Every step costs 1 s, later 1.5 s; quick evaluations 4 s, the final one 20 s.
  hooks.on_step = [&](const StepRecord& record) { clock.seconds += record.step < 60 ? 1.0 : 1.5; };
  hooks.evaluate = [&](bool full) {
    clock.seconds += full ? 20 : 4;
    return 1.5;
  };
  hooks.quick_tokens = 1000;
  hooks.full_tokens = 5000;
  hooks.objective = [&](Context& c, Model& m, const TrainBatch& rows, const LossSums& step, double lambda) {
    clock.seconds += clock.seconds < 80 ? 1.0 : 1.5;
    return next_token_objective(c, m, rows, step, lambda);
  };
  hooks.on_step = nullptr;
  TrainOptions options = tiny_options();
  options.eval_every = 25;
  const Outcome run = train(options, {.minutes = 4}, hooks);
  EXPECT_NEAR(run.result.spent.seconds, 240, 0.03 * 240);
  EXPECT_DOUBLE_EQ(run.records.back().progress, 1);
  EXPECT_GE(run.count(TrainEvent::Kind::plan), 1);
  EXPECT_EQ(run.result.bits_per_byte, 1.5);
}

TEST_F(TrainerTest, EvaluationsAreSpreadOverTheBudget) {
  TrainerHooks hooks;
  int64_t quick = 0;
  hooks.evaluate = [&](bool full) {
    quick += !full;
    return 1.0;
  };
  TrainOptions options = tiny_options();
  options.evaluations = 5;
  const Outcome run = train(options, {.steps = 40}, hooks);
  EXPECT_EQ(quick, 4);  // the fifth is the full one at the end
  EXPECT_EQ(run.count(TrainEvent::Kind::evaluation), 5);
}

TEST_F(TrainerTest, AStopIsCleanAndSaves) {
  const RunDirectory run_directory;
  std::atomic<bool> stop{false};
  TrainerHooks hooks;
  hooks.run = run_directory.path();
  hooks.stop = &stop;
  hooks.on_step = [&](const StepRecord& record) { stop = record.step == 3; };
  const Outcome run = train(tiny_options(), {.steps = 100}, hooks);
  EXPECT_FALSE(run.result.finished);
  EXPECT_EQ(run.result.steps, 3);
  EXPECT_EQ(run.count(TrainEvent::Kind::interrupted), 1);
  EXPECT_TRUE(fs::exists(run_directory.path() / "model" / "model.safetensors"));
}

// Makes the loss of chosen batches NaN or huge.
Objective troubled(int64_t& calls, std::set<int64_t> bad, double value) {
  return [&calls, bad = std::move(bad), value](Context& c, Model& m, const TrainBatch& rows,
                                               const LossSums& step, double lambda) {
    LossSums sums = next_token_objective(c, m, rows, step, lambda);
    if (bad.contains(calls++)) sums.main = value;
    return sums;
  };
}

TEST_F(TrainerTest, SpikesStop) {
  for (const double value : {std::nan(""), 1e6}) {
    int64_t calls = 0;
    TrainerHooks hooks;
    hooks.objective = troubled(calls, {20}, value);
    try {
      train(tiny_options(), {.steps = 40}, hooks);
      FAIL() << "went on";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("step 21"), std::string::npos) << error.what();
    }
    EXPECT_EQ(calls, 21);
  }
}

TEST_F(TrainerTest, SkippedStepsLeaveTheModelAlone) {
  int64_t calls = 0;
  TrainerHooks hooks;
  hooks.objective = troubled(calls, {3, 7}, std::nan(""));
  TrainOptions options = tiny_options();
  options.on_spike = "skip";
  const Outcome run = train(options, {.steps = 10}, hooks);
  EXPECT_EQ(run.result.steps, 10);
  EXPECT_EQ(run.records.size(), 8u);
  EXPECT_EQ(run.count(TrainEvent::Kind::skipped), 2);
  for (const float w : run.weights) ASSERT_TRUE(std::isfinite(w));
  options.max_rollbacks = 1;
  calls = 0;
  hooks.objective = troubled(calls, {3, 7}, std::nan(""));
  EXPECT_THROW(train(options, {.steps = 10}, hooks), Error);
}

TEST_F(TrainerTest, RollsBackAndPassesTheBadData) {
  const RunDirectory run_directory;
  int64_t calls = 0;
  TrainerHooks hooks;
  hooks.run = run_directory.path();
  hooks.objective = troubled(calls, {13}, std::nan(""));
  TrainOptions options = tiny_options();
  options.on_spike = "rollback";
  options.save_every = 5;
  const Outcome run = train(options, {.steps = 20}, hooks);
  EXPECT_EQ(run.count(TrainEvent::Kind::rollback), 1);
  EXPECT_EQ(run.result.steps, 20);
  EXPECT_EQ(run.result.rollbacks, 1);
  EXPECT_EQ(calls, 20 + 4);  // steps 11 to 13 are done twice, the fourteenth batch is lost
  EXPECT_EQ(run.records[13].step, 11);
  // The first three updates after the rollback saw other data than the first time.
  EXPECT_NE(run.records[13].loss, run.records[10].loss);
}

TEST_F(TrainerTest, RollsBackToTheStartAndGivesUp) {
  const RunDirectory run_directory;
  int64_t calls = 0;
  TrainerHooks hooks;
  hooks.run = run_directory.path();
  hooks.objective = troubled(calls, {2, 3, 4, 5}, std::nan(""));
  TrainOptions options = tiny_options();
  options.on_spike = "rollback";
  options.max_rollbacks = 3;
  EXPECT_THROW(train(options, {.steps = 20}, hooks), Error);
  EXPECT_EQ(calls, 6);
}

TEST_F(TrainerTest, BadInputIsNamed) {
  auto model = tiny_model(ctx);
  TinyData data, foreign(60);
  TrainOptions options = tiny_options();
  const auto make = [&](const TrainOptions& o, const Budget& b) { Trainer(ctx, *model, data, o, b, {}); };
  EXPECT_THROW(make(options, {}), UsageError);
  EXPECT_THROW(make(options, {.tokens = 10}), UsageError);
  EXPECT_THROW(make(options, {.joules = 10}), UsageError);
  options.context = 65;
  EXPECT_THROW(make(options, {.steps = 1}), UsageError);
  options = tiny_options();
  options.on_spike = "rollback";
  EXPECT_THROW(make(options, {.steps = 1}), UsageError);
  options.on_spike = "hope";
  EXPECT_THROW(make(options, {.steps = 1}), UsageError);
  options = tiny_options();
  options.compute = "fp8";
  EXPECT_THROW(make(options, {.steps = 1}), UsageError);
  options = tiny_options();
  options.batch = 0;
  EXPECT_THROW(make(options, {.steps = 1}), UsageError);
  EXPECT_THROW(Trainer(ctx, *model, foreign, tiny_options(), {.steps = 5}, {}).run(), Error);
}

TEST_F(TrainerTest, ThreadsChangeNothing) {
  const Outcome one = train(tiny_options(), {.steps = 6}, {}, 1),
                three = train(tiny_options(), {.steps = 6}, {}, 3);
  EXPECT_TRUE(same_bits(one.weights, three.weights));
}

TEST_F(TrainerTest, Bf16ComputeLearnsToo) {
  TrainOptions options = tiny_options();
  options.compute = "bf16";
  const Outcome run = train(options, {.steps = 100});
  EXPECT_LT(run.records.back().loss, 2.3);
}

}  // namespace
}  // namespace frugal
