// Adapters that PEFT wrote: logits, log-probabilities and the gradient of every tensor of theirs, against
// PEFT's own (tools/make_peft_golden.py).
#include "io/model_files.h"
#include "io/peft.h"
#include "models/golden.h"
#include "tune/losses.h"

namespace frugal {
namespace {

class PeftGolden : public testing::TestWithParam<std::string> {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
  fs::path folder() const { return golden_path("peft/" + GetParam()); }
};

TEST_P(PeftGolden, LogitsAndLogProbs) {
  const SafetensorsFile golden(folder() / "golden.safetensors");
  const GoldenBatch ids = golden_batch(golden);
  const auto model = load_model(ctx, folder());  // the adapter stands for its base model and itself
  const Hidden hidden = model->forward(ctx, ids.batch(), nullptr);
  EXPECT_LT(relative_error(logits(ctx, *model, hidden.normed).values(), floats(golden, "logits")), 1e-4);

  TrainRows rows{ids.batch(), ids.shifted(1, -1), {}};
  const SequenceLogProbs probabilities = sequence_log_probs(ctx, *model, rows);
  const std::vector<float> wanted = floats(golden, "token_log_probs");
  size_t next = 0;
  double sum = 0;
  for (size_t i = 0; i < rows.targets.size(); ++i) {
    if (rows.targets[i] < 0) continue;
    EXPECT_NEAR(probabilities.tokens.f32()[i], wanted[next], 2e-4) << i;
    sum += static_cast<double>(wanted[next++]);
  }
  EXPECT_NEAR(probabilities.sums[0] + probabilities.sums[1], sum, 1e-3);
}

TEST_P(PeftGolden, Gradients) {
  const SafetensorsFile golden(folder() / "golden.safetensors");
  const GoldenBatch ids = golden_batch(golden);
  auto model = load_model(ctx, adapter_base(folder()), Weights::mapped_hf);
  load_adapter(ctx, *model, folder(), true);
  Tape tape;
  ctx.tape = &tape;
  ctx.stream_weights = false;
  const TrainRows rows{ids.batch(), ids.shifted(1, -1), {}};
  const SequenceLogProbs probabilities = sequence_log_probs(ctx, *model, rows);
  const double count = static_cast<double>(ids.rows * (ids.length - 1));
  probabilities.backward_from_sums(ctx, std::vector<double>(probabilities.sums.size(), -1 / count));
  tape.backward(ctx);
  double loss = 0;
  for (const double s : probabilities.sums) loss -= s / count;
  EXPECT_NEAR(loss, floats(golden, "loss")[0], 2e-5);
  int compared = 0;
  visit_peft_tensors(*model, [&](const std::string& name, const Tensor& value) {
    ASSERT_TRUE(value.has_gradient()) << name;
    EXPECT_LT(relative_error(value.gradient_values(), floats(golden, "grad." + name)), 2e-4) << name;
    ++compared;
  });
  EXPECT_EQ(compared + 4, std::ssize(golden.entries()));
}

INSTANTIATE_TEST_SUITE_P(Adapters, PeftGolden, testing::Values("lora", "rslora", "dora", "conv1d", "mla"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace frugal
