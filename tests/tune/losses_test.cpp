#include "tune/losses.h"

#include "train/optimizer.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

std::vector<TokenSequence> examples() {
  std::vector<TokenSequence> all;
  for (const auto& [prompt, reply] :
       {std::pair<std::vector<int32_t>, std::vector<int32_t>>{{5, 9, 200}, {7, 7}},
        {{1}, {2, 3, 4, 5}},
        {{300, 8}, {9}}}) {
    all.push_back(SequenceBuilder::join(prompt, reply));
  }
  return all;
}

class Losses : public TuneTest {
 protected:
  Context training(Tape& tape) {
    Context c = ctx;
    c.tape = &tape;
    c.stream_weights = false;
    return c;
  }
  static std::vector<float> gradients(Model& model) {
    std::vector<float> all;
    for (const Parameter& p : trainable_parameters(model)) {
      const auto values = p.value.gradient_values();
      all.insert(all.end(), values.begin(), values.end());
      p.value.zero_gradient();
    }
    return all;
  }
};

// Packing, padding and micro-batches change nothing: the loss is the mean over learnt tokens, each sequence
// by itself.
TEST_F(Losses, SftIsTheMeanOverLearntTokensHoweverPacked) {
  auto model = tiny();
  make_trainable(*model);
  const auto all = examples();
  double expected = 0;
  int64_t targets = 0;
  for (const TokenSequence& sequence : all) {
    const Hidden hidden = model->forward(ctx, Batch::single(sequence.tokens), nullptr);
    const Tensor scores = logits(ctx, *model, hidden.normed);
    for (size_t i = 1; i < sequence.tokens.size(); ++i) {
      if (!sequence.learnt[i]) continue;
      const float* row = scores.f32() + static_cast<int64_t>(i - 1) * scores.cols();
      double sum = 0;
      for (int64_t v = 0; v < scores.cols(); ++v) sum += std::exp(static_cast<double>(row[v]));
      expected += std::log(sum) - static_cast<double>(row[sequence.tokens[i]]);
      ++targets;
    }
  }
  EXPECT_EQ(targets, 7);
  std::vector<std::vector<float>> all_gradients;
  for (const auto& [rows, length, at_once] : {std::tuple{1, 20, 1}, {3, 5, 3}, {4, 5, 2}, {2, 9, 1}}) {
    const TrainBatch batch = in_order(all, rows, length).at(0);
    const LossSums step = count_targets(batch, 0);
    ASSERT_EQ(step.targets, targets);
    double loss = 0;
    for (int begin = 0; begin < rows; begin += at_once) {
      Tape tape;
      Context c = training(tape);
      loss += sft_objective(c, *model, slice_rows(batch, begin, begin + at_once), step, 0).main;
    }
    EXPECT_NEAR(loss, expected, 1e-4 * expected) << rows << " " << length;
    all_gradients.push_back(gradients(*model));
  }
  for (size_t g = 1; g < all_gradients.size(); ++g) {
    for (size_t i = 0; i < all_gradients[0].size(); ++i) {
      ASSERT_NEAR(all_gradients[g][i], all_gradients[0][i], 1e-5) << g;
    }
  }
}

// A loss of sequence sums, as preferences have it: gradients against differences along a random direction.
TEST_F(Losses, SequenceLogProbsHaveGradients) {
  auto model = tiny();
  attach_adapters(ctx, visit(*model), {.rank = 2, .target_modules = {"all-linear"}}, 3, true);
  std::vector<Parameter> parameters = trainable_parameters(*model);
  Rng rng(5);
  std::vector<std::vector<float>> direction;
  for (Parameter& p : parameters) {
    direction.emplace_back();
    for (float& value : p.value.values()) {
      value += static_cast<float>(0.1 * rng.normal());
      direction.back().push_back(static_cast<float>(rng.normal()));
    }
  }
  const TrainRows rows = without_padding(in_order(examples(), 1, 20).at(0));
  const auto loss_of = [](const SequenceLogProbs& p) {
    return std::log1p(std::exp(p.sums[1] - p.sums[0])) + 0.3 * p.sums[2] * p.sums[2];
  };
  Tape tape;
  Context c = training(tape);
  const SequenceLogProbs got = sequence_log_probs(c, *model, rows);
  EXPECT_EQ(got.counts, (std::vector<int64_t>{2, 4, 1}));
  const double s = 1 / (1 + std::exp(got.sums[0] - got.sums[1]));
  got.backward_from_sums(c, std::vector<double>{-s, s, 0.6 * got.sums[2]});
  tape.backward(c);
  double slope = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    for (size_t k = 0; k < direction[i].size(); ++k) {
      slope += static_cast<double>(parameters[i].value.gradient()[k] * direction[i][k]);
    }
  }
  double side[2];
  for (const int k : {0, 1}) {
    const float step = k == 0 ? 2e-4f : -4e-4f;
    for (size_t i = 0; i < parameters.size(); ++i) {
      for (size_t n = 0; n < direction[i].size(); ++n) parameters[i].value.f32()[n] += step * direction[i][n];
    }
    Context quiet = ctx;
    quiet.stream_weights = false;
    side[k] = loss_of(sequence_log_probs(quiet, *model, rows));
  }
  EXPECT_NEAR(slope, (side[0] - side[1]) / 4e-4, 0.02 * std::abs(slope));
}

TEST_F(Losses, APaddedMicroBatchIsNothing) {
  auto model = tiny();
  make_trainable(*model);
  const TrainBatch batch = in_order(examples(), 4, 20).at(0);  // all in the first row
  Tape tape;
  Context c = training(tape);
  EXPECT_EQ(sft_objective(c, *model, slice_rows(batch, 2, 4), count_targets(batch, 0), 0).main, 0);
}

}  // namespace
}  // namespace frugal
