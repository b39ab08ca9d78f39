// GRPO as a method: a tiny model's reward rises; replies, batches and figures; going on; threads.
#include <numeric>
#include <span>

#include "nn/adapter.h"
#include "train/trainer.h"
#include "tune/losses.h"
#include "tune/method.h"
#include "tune/rollouts.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

class GrpoMethod : public TuneTest {
 protected:
  Tokenizer tokenizer_ = chat_tokenizer(kChatMl);
  TuneOptions options_;

  void SetUp() override {
    TuneTest::SetUp();
    std::string lines;
    for (int i = 0; i < 4; ++i) lines += fmt::format("{{\"prompt\": \"{} boats\", \"answer\": 7}}\n", i);
    options_.method = "grpo";
    options_.data.train = {file("problems.jsonl", lines)};
    options_.adapter.kind = "none";
    options_.grpo.group = 8;
    options_.grpo.max_tokens = 6;
    options_.grpo.at_once = 5;
    // Something that a random model does now and then: the letter e.
    options_.grpo.reward.answer = "none";
    options_.grpo.reward.format = "e";
    options_.grpo.reward.format_weight = 1;
    options_.train.batch = 16;
    options_.train.micro_batch = 7;
    options_.train.context = 32;
    options_.train.optimizer.lr = 3e-3;
    options_.train.schedule.name = "constant";
    options_.budget.steps = 12;
  }
  TuneSetup setup(Context& on) {
    return {.ctx = on,
            .tokenizer = tokenizer_,
            .options = options_,
            .seed = 7,
            .folder = dir_,
            .model_key = "m",
            .stop_ids = {*tokenizer_.eos_id()},
            .open = [this] { return tiny(); }};
  }
  std::vector<double> train(Context& on, Model& model, Json* figures = nullptr) {
    check(options_);
    const auto task = find_tune_method("grpo").create(setup(on));
    task->begin(model);
    std::vector<double> rewards;
    double flops = 0;
    TrainerHooks hooks;
    hooks.objective = task->objective();
    hooks.on_step = [&](const StepRecord&) {
      rewards.push_back(task->figures()["reward"].get<double>());
      if (figures != nullptr) *figures = task->figures();
      flops += task->take_work().flops;
    };
    Trainer(on, model, task->batches(), options_.train, options_.budget, std::move(hooks)).run();
    EXPECT_GT(flops, 0);
    return rewards;
  }
};

// Of some steps: a single step's is a matter of chance.
double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

TEST_F(GrpoMethod, TheRewardRises) {
  options_.train.batch = 32;
  options_.budget.steps = 40;
  for (const char* loss : {"token", "sequence"}) {
    options_.grpo.loss = loss;
    auto model = tiny();
    make_trainable(*model);
    Json figures;
    const std::vector<double> rewards = train(ctx, *model, &figures);
    ASSERT_EQ(rewards.size(), 40u);
    EXPECT_GT(mean_of(std::span(rewards).last(5)), mean_of(std::span(rewards).first(3)) + 0.2) << loss;
    EXPECT_GT(figures["KL from the model as it began, nats a token"], 0);
    EXPECT_EQ(figures["reward"], figures["reward: format"]);
    EXPECT_LE(figures["tokens of a reply"], 6);
  }
}

// Beside a quantised model, with further steps on the same replies; the base stays as it is.
TEST_F(GrpoMethod, AdaptersAndFurtherUpdates) {
  options_.adapter.kind = "lora";
  options_.grpo.updates = 2;
  options_.train.optimizer.lr = 1e-2;
  options_.train.batch = 32;
  options_.budget.steps = 60;
  auto model = tiny();
  quantise(*model, formats::q8_0);
  const std::string before = bytes_of(*model);
  attach_adapters(ctx, visit(*model), {.rank = 4}, 3, true);
  Json figures;
  const std::vector<double> rewards = train(ctx, *model, &figures);
  EXPECT_EQ(bytes_of(*model), before);
  EXPECT_GT(mean_of(std::span(rewards).last(5)), mean_of(std::span(rewards).first(3)) + 0.1);
  EXPECT_GT(figures["KL from the model as it began, nats a token"], 0);
  EXPECT_TRUE(figures.contains("share of tokens out of bounds"));
  EXPECT_FALSE(adapters_of(visit(*model)).empty());
}

TEST_F(GrpoMethod, TheSameBitsForAnyNumberOfThreadsAndSlots) {
  options_.budget.steps = 2;
  std::vector<std::string> weights;
  for (const int threads : {1, 3}) {
    ThreadPool own(threads);
    Context c{own, kernels::best()};
    options_.grpo.at_once = threads;
    auto model = create_model(parse_json(kTinyLlamaConfig, "config"));
    initialise(c, *model, 5);
    make_trainable(*model);
    train(c, *model);
    weights.push_back(bytes_of(*model));
  }
  EXPECT_EQ(weights[0], weights[1]);
}

// Before any step the first ratio is 1 and the KL divergence 0, the old and the reference log-probabilities
// those of the model.
TEST_F(GrpoMethod, ColumnsAreOfTheModelThatReplied) {
  options_.grpo.updates = 3;
  auto model = tiny();
  make_trainable(*model);
  const auto task = find_tune_method("grpo").create(setup(ctx));
  task->begin(*model);
  const TrainBatch batch = task->batches().next(16, 32);
  const TrainRows rows = without_padding(batch);
  Context quiet = ctx;
  quiet.stream_weights = false;
  const SequenceLogProbs got = sequence_log_probs(quiet, *model, rows);
  ASSERT_EQ(rows.extra.size(), size_t{Rollouts::columns});
  for (size_t i = 0; i < rows.targets.size(); ++i) {
    ASSERT_NEAR(rows.extra[Rollouts::old_column][i], got.tokens.f32()[i], 1e-5);
    ASSERT_NEAR(rows.extra[Rollouts::reference_column][i], got.tokens.f32()[i], 1e-5);
  }
  const LossSums sums = task->objective()(quiet, *model, batch, count_targets(batch, 0), 0);
  double expected = 0;
  for (const float advantage : batch.extra[Rollouts::advantage_column]) expected -= advantage;
  EXPECT_NEAR(sums.main, expected, 1e-3);
  EXPECT_NEAR(task->figures()["KL from the model as it began, nats a token"].get<double>(), 0, 1e-9);
}

TEST_F(GrpoMethod, BatchesGoOnWhereTheyStopped) {
  options_.grpo.updates = 2;
  auto model = tiny();
  make_trainable(*model);
  for (const int given : {1, 2, 3}) {  // in the middle of the updates, and between
    const auto one = find_tune_method("grpo").create(setup(ctx)),
               two = find_tune_method("grpo").create(setup(ctx));
    one->begin(*model);
    two->begin(*model);
    for (int i = 0; i < given; ++i) one->batches().next(16, 32);
    const Json state = parse_json(to_text(one->batches().state()), "state");
    two->batches().restore(state, "s");
    for (int i = 0; i < 2; ++i) EXPECT_EQ(one->batches().next(16, 32), two->batches().next(16, 32)) << given;
    Json broken = state;
    broken["key"] = "x";
    EXPECT_NE(error_of([&] { two->batches().restore(broken, "s"); }).find("other problems"),
              std::string::npos);
    broken = state;
    broken["rounds"] = "x";
    EXPECT_NE(error_of([&] { two->batches().restore(broken, "s"); }).find("damaged (rounds)"),
              std::string::npos);
  }
}

TEST_F(GrpoMethod, RepliesEndAtStopTexts) {
  auto model = tiny();
  Engine engine(ctx, *model, {.context = 64, .slots = 3});
  std::vector<std::vector<int32_t>> prompts;
  std::vector<uint64_t> seeds;
  for (uint64_t i = 0; i < 8; ++i) {
    prompts.push_back(tokenizer_.encode(fmt::format("{} boats", i)));
    seeds.push_back(hash64("seed", i));
  }
  const auto free = own_replies(engine, pool, tokenizer_, prompts, seeds, {1, 20, {}, {}});
  const std::string stop = free[0].text.substr(free[0].text.size() / 2, 1);
  const auto stopped = own_replies(engine, pool, tokenizer_, prompts, seeds, {1, 20, {}, {stop}});
  EXPECT_TRUE(stopped[0].ended);
  for (size_t i = 0; i < free.size(); ++i) {
    EXPECT_EQ(free[i].ids.size(), 20u);
    EXPECT_FALSE(free[i].ended);
    const size_t at = free[i].text.find(stop);
    EXPECT_EQ(stopped[i].ended, at != std::string::npos) << i;
    EXPECT_EQ(stopped[i].text, free[i].text.substr(0, at)) << i;
  }
  const auto by_id = own_replies(engine, pool, tokenizer_, prompts, seeds, {1, 20, {free[3].ids[4]}, {}});
  EXPECT_TRUE(by_id[3].ended);
  EXPECT_EQ(by_id[3].ids.back(), free[3].ids[4]);
  EXPECT_TRUE(free[3].text.starts_with(by_id[3].text));
}

TEST_F(GrpoMethod, MistakesAreNamed) {
  const auto mistake = [&] { return error_of([&] { check(options_); }); };
  options_.train.batch = 12;
  EXPECT_NE(mistake().find("multiple of grpo.group = 8"), std::string::npos);
  options_.train.batch = 16;
  options_.grpo.max_tokens = 32;
  EXPECT_NE(mistake().find("grpo.max_tokens = 32: expected less than train.context = 32"), std::string::npos);
  EXPECT_EQ(
      error_of([&] {
        options_.grpo.max_tokens = 31;
        find_tune_method("grpo").create(setup(ctx));
      }),
      "data.train: none of the 4 prompts leaves room for a reply of grpo.max_tokens = 31 in train.context "
      "= 32");
  options_.grpo.max_tokens = 6;
  options_.data.sums = 10;
  EXPECT_NE(mistake().find("not both"), std::string::npos);
  options_.data.sums = 0;
  options_.adapter.kind = "lora";
  options_.adapter.dropout = 0.1;
  EXPECT_NE(mistake().find("adapter.dropout"), std::string::npos);
}

}  // namespace
}  // namespace frugal
