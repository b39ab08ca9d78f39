// The trainer on the real data stream and validation windows.
#include <cmath>
#include <numbers>

#include "data/stream.h"
#include "train/evaluate.h"
#include "train/fixtures.h"
#include "train/loss.h"

namespace frugal {
namespace {

constexpr int32_t kBos = 46, kEos = 47;

TokenSet documents(uint64_t seed, int64_t count) {
  Rng rng(seed);
  std::vector<std::vector<int32_t>> all;
  std::vector<int64_t> bytes;
  for (int64_t i = 0; i < count; ++i) {
    auto token = static_cast<int32_t>(rng.below(46));
    std::vector<int32_t> ids;
    for (uint64_t n = 3 + rng.below(40); n > 0; --n) {
      ids.push_back(token);
      token = (5 * token + 7) % 46;
    }
    bytes.push_back(static_cast<int64_t>(2 * ids.size()));
    all.push_back(std::move(ids));
  }
  return TokenSet::from_memory(all, bytes);
}

TEST(TrainOnStream, ResumesBitExactlyAndLearns) {
  const auto run = [&](const fs::path& directory, int64_t stop_at) {
    ThreadPool pool(1);
    Context ctx{pool, kernels::best()};
    auto model = tiny_model(ctx);
    BatchStream stream(
        {{documents(1, 200), 1}},
        {.framing = {kBos, kEos}, .piece_length = 24, .seed = 3, .document_mask = true, .key = "k"});
    const auto batches = batches_of(stream);
    std::atomic<bool> stop{false};
    double loss = 0;
    TrainerHooks hooks;
    hooks.run = directory;
    hooks.stop = &stop;
    hooks.on_step = [&](const StepRecord& record) {
      stop = record.step == stop_at;
      loss = record.loss;
    };
    Trainer trainer(ctx, *model, *batches, tiny_options(), {.steps = 60}, hooks);
    trainer.resume();
    trainer.run();
    return std::pair{all_values(*model), loss};
  };
  const RunDirectory whole, parts;
  const auto straight = run(whole.path(), 0);
  run(parts.path(), 21);
  EXPECT_TRUE(same_bits(straight.first, run(parts.path(), 0).first));
  EXPECT_LT(straight.second, 2.0);
}

TEST(Validation, BitsPerByteAreNatsOverBytes) {
  ThreadPool pool(2);
  Context ctx{pool, kernels::best()};
  auto model = tiny_model(ctx);
  const TokenSet set = documents(5, 20);
  ValidationWindows windows(set, {.framing = {kBos, kEos}, .length = 16});
  const Validation result = validate(ctx, *model, windows, 3);
  EXPECT_EQ(result.targets, set.tokens() + 20);  // every document's EOS, no BOS
  EXPECT_EQ(result.bytes, set.text_bytes());
  EXPECT_NEAR(result.bits_per_byte,
              result.loss * static_cast<double>(result.targets) / static_cast<double>(result.bytes) /
                  std::numbers::ln2,
              1e-12);
  EXPECT_NEAR(result.loss, std::log(48), 1.0);                     // untrained
  EXPECT_EQ(validate(ctx, *model, windows, 7).loss, result.loss);  // rewound, and whatever the rows at a time
}

}  // namespace
}  // namespace frugal
