// The student's own text as training rows, and what is learnt from it.
#include "distill/on_policy.h"

#include <cmath>

#include "distill/cross.h"
#include "distill/teacher.h"
#include "text/bpe_trainer.h"
#include "train/fixtures.h"
#include "tune/packing.h"

namespace frugal {
namespace {

class OnPolicy : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
  // Its texts do not matter: ids of the tiny models that it lacks have none.
  const Tokenizer tokenizer = [] {
    ThreadPool one(1);
    BpeTrainer trainer({.vocab_size = 272}, one);
    trainer.add("a b c");
    return trainer.train();
  }();
  OnPolicyOptions options{.lambda = 0.5, .prompt_tokens = 5, .at_once = 3, .seed = 4, .stop_ids = {7}};

  std::vector<TrainBatch> batches(int count, Context& on, int64_t at_once = 3) {
    OnPolicyOptions o = options;
    o.at_once = at_once;
    TinyData data;
    OwnRows rows(on, data, tokenizer, o, 24);
    const auto student = tiny_model(on, kTinyLlama, 8);
    rows.begin(*student);
    std::vector<TrainBatch> out;
    for (int i = 0; i < count; ++i) out.push_back(rows.next(4, 24));
    return out;
  }
  static double own_rows(const TrainBatch& batch) {
    double sum = 0;
    if (!batch.extra.empty()) {
      for (const float own : batch.extra[kOwnColumn]) sum += static_cast<double>(own);
    }
    return sum / static_cast<double>(batch.length);
  }
};

TEST_F(OnPolicy, RowsAreContinuationsOfTheDataForTheShareAskedFor) {
  options.lambda = 0.4;
  const std::vector<TrainBatch> all = batches(25, ctx);
  TinyData data;
  double own = 0;
  for (const TrainBatch& batch : all) {
    const TrainBatch plain = data.next(4, 24);
    own += own_rows(batch);
    for (size_t i = 0; i < batch.tokens.size(); ++i) {
      const bool written = !batch.extra.empty() && batch.extra[kOwnColumn][i] != 0;
      if (!written) {
        EXPECT_EQ(batch.tokens[i], plain.tokens[i]);
        EXPECT_EQ(batch.targets[i], plain.targets[i]);
      } else if (i % 24 < 5) {
        EXPECT_EQ(batch.tokens[i], plain.tokens[i]);
        EXPECT_EQ(batch.targets[i], i % 24 < 4 ? -1 : batch.tokens[i + 1]);
      }
    }
    EXPECT_EQ(batch.offsets.back(), 4 * 24);
  }
  EXPECT_NEAR(own / 100, 0.4, 0.05);
}

TEST_F(OnPolicy, TextsEndWithAStopIdOrTheRow) {
  options.lambda = 1;
  int64_t ended = 0, full = 0;
  for (const TrainBatch& batch : batches(6, ctx)) {
    for (int64_t r = 0; r < 4; ++r) {
      bool padding = false;
      for (int64_t i = r * 24; i < (r + 1) * 24; ++i) {
        const auto at = static_cast<size_t>(i);
        if (batch.document[at] == kPadding) padding = true;
        if (batch.targets[at] != 7) continue;
        EXPECT_TRUE(i + 2 >= (r + 1) * 24 || batch.document[at + 2] == kPadding);
      }
      ++(padding ? ended : full);
    }
  }
  EXPECT_GT(ended, 0);
  EXPECT_GT(full, 0);
  options.max_new_tokens = 3;
  const TrainBatch few = batches(1, ctx)[0];
  EXPECT_LE(compact(few).length, 4 * 8);
}

TEST_F(OnPolicy, TheSameForAnyNumberOfThreadsAndSlotsAndAfterAResume) {
  ThreadPool one(1);
  Context alone{one, kernels::best()};
  const auto all = batches(4, ctx);
  EXPECT_EQ(all, batches(4, alone, 1));
  TinyData first, second;
  OwnRows rows(ctx, first, tokenizer, options, 24), resumed(ctx, second, tokenizer, options, 24);
  const auto student = tiny_model(ctx, kTinyLlama, 8);
  rows.begin(*student);
  resumed.begin(*student);
  for (int i = 0; i < 2; ++i) rows.next(4, 24);
  resumed.restore(rows.state(), "here");
  EXPECT_EQ(resumed.next(4, 24), all[2]);
  EXPECT_THROW(resumed.restore(Json{{"steps", -1}}, "here"), Error);
}

TEST_F(OnPolicy, PromptsAreAnsweredInAnOrderThatIsNewEveryTime) {
  options.lambda = 1;
  options.prompts = {{1, 2}, {3, 4, 5}, {6}};
  const auto all = batches(3, ctx);
  std::map<int32_t, int> first;
  for (const TrainBatch& batch : all) {
    for (size_t r = 0; r < 4; ++r) ++first[batch.tokens[r * 24]];
  }
  EXPECT_EQ(first, (std::map<int32_t, int>{{1, 4}, {3, 4}, {6, 4}}));
}

// In the student's own rows the divergence counts alone, at its full weight; multi-token prediction never
// does.
TEST_F(OnPolicy, TheObjectiveIsTheDivergenceOnOwnRowsAndTheMixtureOnOthers) {
  options.lambda = 0.5;
  const TrainBatch batch = batches(1, ctx)[0];
  ASSERT_EQ(own_rows(batch), 2);
  const auto teacher = tiny_model(ctx, kTinyLlama, 3), student = tiny_model(ctx, kTinyV3, 8);
  TeacherTally tally;
  const ops::DivergenceOptions how{ops::Divergence::reverse_kl, 0.5f, 1, 0.75f, 0.25f};
  const LossSums step = count_targets(batch, 1);
  Context quiet = ctx;
  const LossSums sums = online_objective(*teacher, how, tally)(quiet, *student, batch, step, 0.3);
  double expected = 0;
  for (int64_t r = 0; r < 4; ++r) {
    const TrainBatch row = compact(slice_rows(batch, r, r + 1));
    const bool own = row.extra[kOwnColumn][0] != 0;
    ops::DivergenceOptions of_row = how;
    if (own) {
      of_row.weight = 1;
      of_row.hard_weight = 0;
    }
    const auto hidden = [&](Model& m) { return m.forward(quiet, to_batch(row), nullptr).normed; };
    expected += ops::divergence(quiet, hidden(*student), student->head(), hidden(*teacher), teacher->head(),
                                row.targets, of_row, 1)
                    .loss_sum;
  }
  EXPECT_NEAR(sums.main, expected, 1e-4 * expected);
  EXPECT_EQ(tally.met, step.targets);
  EXPECT_GT(tally.work.flops, 0);
  // Targets two tokens on: of the data's rows only.
  EXPECT_EQ(step.mtp_targets[0], count_targets(slice_rows(batch, 0, 2), 1).mtp_targets[0]);
}

// Nats a token of the student's own text that its teacher would not have said: KL(student | teacher).
double regret(Context& ctx, Model& student, Model& teacher, const Tokenizer& tokenizer) {
  TinyData data;
  OwnRows rows(ctx, data, tokenizer, {.lambda = 1, .prompt_tokens = 5, .seed = 99}, 24);
  rows.begin(student);
  TeacherTally tally;
  Context quiet = ctx;
  LossSums all;
  for (int i = 0; i < 2; ++i) {
    const TrainBatch batch = rows.next(8, 24);
    all.targets += count_targets(batch, 0).targets;
    all.main += online_objective(teacher, {.kind = ops::Divergence::reverse_kl}, tally)(
                    quiet, student, batch, count_targets(batch, 0), 0)
                    .main;
  }
  return all.mean();
}

TEST_F(OnPolicy, StudentsLearnFromTheirOwnText) {
  const auto teacher = tiny_model(ctx, kTinyLlama, 3), student = tiny_model(ctx, kTinyLlama, 8);
  const double before = regret(ctx, *student, *teacher, tokenizer);
  options.lambda = 1;
  TinyData data;
  OwnRows rows(ctx, data, tokenizer, options, 24);
  rows.begin(*student);
  TeacherTally tally;
  TrainerHooks hooks;
  hooks.objective = online_objective(*teacher, {.kind = ops::Divergence::reverse_kl}, tally);
  Trainer(ctx, *student, rows, tiny_options(), {.steps = 40}, hooks).run();
  EXPECT_LT(regret(ctx, *student, *teacher, tokenizer), 0.6 * before);
  EXPECT_GT(rows.take_work().flops, 0);
}

}  // namespace
}  // namespace frugal
