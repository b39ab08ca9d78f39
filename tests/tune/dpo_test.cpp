// DPO as a method: preferences are learnt, the reference is kept on disk, training goes on where it stopped.
#include "train/trainer.h"
#include "tune/method.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

class DpoMethod : public TuneTest {
 protected:
  Tokenizer tokenizer_ = chat_tokenizer(kChatMl);
  TuneOptions options_;

  void SetUp() override {
    TuneTest::SetUp();
    std::string lines;
    for (int i = 0; i < 6; ++i) {
      lines += to_text(Json{{"prompt", fmt::format("{} boats", i)},
                            {"chosen", i % 2 == 0 ? " on the sea" : " upon the sea, small"},
                            {"rejected", i % 2 == 0 ? " there were times" : " a time"}}) +
               "\n";
    }
    options_.method = "dpo";
    options_.data.train = {file("pairs.jsonl", lines)};
    options_.data.valid = options_.data.train;
    options_.adapter.kind = "none";
    options_.train.batch = 3;
    options_.train.micro_batch = 2;
    options_.train.context = 64;
    options_.train.optimizer.lr = 3e-3;
    options_.train.schedule.name = "constant";
    options_.budget.steps = 20;
  }
  TuneSetup setup() {
    return {.ctx = ctx,
            .tokenizer = tokenizer_,
            .options = options_,
            .seed = 7,
            .folder = dir_,
            .model_key = "m"};
  }
  struct Trained {
    std::vector<double> losses;
    Json figures;
    double valid = 0;
  };
  Trained train(TuneTask& task, Model& model) {
    Trained out;
    TrainerHooks hooks;
    hooks.objective = task.objective();
    hooks.on_step = [&](const StepRecord& record) {
      out.losses.push_back(record.loss);
      out.figures = task.figures();
    };
    Trainer(ctx, model, task.batches(), options_.train, options_.budget, std::move(hooks)).run();
    out.valid = task.validate(ctx, model);
    return out;
  }
};

TEST_F(DpoMethod, PreferencesAreLearnt) {
  for (const char* loss : {"sigmoid", "ipo"}) {
    options_.dpo.loss = loss;
    auto model = tiny();
    make_trainable(*model);
    const auto task = find_tune_method("dpo").create(setup());
    task->begin(*model);
    // Before the first step nothing is preferred more than the reference does.
    const double even = options_.dpo.loss == "ipo" ? 25 : std::log(2.0);
    EXPECT_NEAR(task->validate(ctx, *model), even, 1e-3 * even);
    const Trained got = train(*task, *model);
    EXPECT_NEAR(got.losses.front(), even, 1e-3 * even);
    EXPECT_LT(got.valid, 0.9 * even);
    EXPECT_EQ(got.figures["share of pairs preferred rightly"], 1);
    EXPECT_GT(got.figures["reward margin"], 0);
    EXPECT_EQ(task->summary()["validation_preferred_rightly"], 1);
  }
}

// The reference is of the model as it began: a second run, whose model is another by now, reads it.
TEST_F(DpoMethod, TheReferenceIsKeptByDataAndModel) {
  auto model = tiny();
  make_trainable(*model);
  find_tune_method("dpo").create(setup())->begin(*model);
  const std::string saved = read_file(dir_ / "reference.train.json");
  auto other = create_model(parse_json(kTinyLlamaConfig, "config"));
  initialise(ctx, *other, 6);
  make_trainable(*other);
  const auto again = find_tune_method("dpo").create(setup());
  again->begin(*other);
  EXPECT_EQ(read_file(dir_ / "reference.train.json"), saved);
  EXPECT_GT(std::abs(again->validate(ctx, *other) - std::log(2.0)), 1e-3);
  TuneSetup of_another = setup();
  of_another.model_key = "n";
  const auto fresh = find_tune_method("dpo").create(of_another);
  fresh->begin(*other);
  EXPECT_NE(read_file(dir_ / "reference.train.json"), saved);
  EXPECT_NEAR(fresh->validate(ctx, *other), std::log(2.0), 1e-3);
  file("reference.train.json", saved.substr(0, saved.size() / 2));
  EXPECT_NE(error_of([&] { again->begin(*other); }).find("reference.train.json"), std::string::npos);
}

TEST_F(DpoMethod, LongPairsAreCutDroppedOrAnError) {
  options_.train.context = 12;
  std::string note;
  TuneSetup with_note = setup();
  with_note.note = [&](const std::string& text) { note = text; };
  const auto task = find_tune_method("dpo").create(with_note);
  EXPECT_NE(note.find("longer than train.context = 12"), std::string::npos) << note;
  const TrainBatch batch = task->batches().next(3, 12);
  EXPECT_EQ(batch.rows, 3);
  options_.data.too_long = "error";
  EXPECT_NE(error_of([&] { find_tune_method("dpo").create(setup()); }).find("train.context is 12"),
            std::string::npos);
}

TEST_F(DpoMethod, BatchesGoOnWhereTheyStopped) {
  const auto one = find_tune_method("dpo").create(setup()), two = find_tune_method("dpo").create(setup());
  one->batches().next(4, 64);
  two->batches().restore(one->batches().state(), "s");
  EXPECT_EQ(one->batches().next(4, 64), two->batches().next(4, 64));
  TuneSetup other = setup();
  other.seed = 8;
  const auto three = find_tune_method("dpo").create(other);
  EXPECT_NE(error_of([&] { three->batches().restore(one->batches().state(), "s"); }).find("another seed"),
            std::string::npos);
}

}  // namespace
}  // namespace frugal
