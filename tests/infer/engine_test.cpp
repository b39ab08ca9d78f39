#include "infer/engine.h"

#include <set>

#include "core/rng.h"
#include "io/model_files.h"
#include "models/golden.h"

namespace frugal {
namespace {

// Every tiny model of tests/golden; together they cover all architectures.
std::vector<std::string> golden_models() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden_path("models")))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab))));
  return ids;
}

class EngineTest : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};
  std::unique_ptr<Model> model(const std::string& name) {
    return load_model(ctx_, golden_path("models/" + name));
  }
};

TEST_F(EngineTest, GoldenModelsCoverEveryArchitecture) {
  std::set<std::string> types;
  for (const std::string& name : golden_models()) {
    types.insert(
        read_json_file(golden_path("models/" + name + "/config.json"))["model_type"].get<std::string>());
  }
  for (const Architecture* a : all_architectures())
    EXPECT_TRUE(types.contains(std::string(a->model_type))) << a->model_type;
}

// Prompt rows in chunks, then generated rows one at a time (MLA: absorbed), against one pass without a cache.
TEST_F(EngineTest, CachedEqualsUncached) {
  constexpr int64_t kTokens = 24, kPrompt = 13;
  for (const std::string& name : golden_models()) {
    const auto m = model(name);
    const auto ids = random_ids(kTokens, m->shape().vocab_size, 5);
    const Tensor all = logits(ctx_, *m, m->forward(ctx_, Batch::single(ids), nullptr).normed);
    const auto row = [&](int64_t r) {
      return all.values().subspan(static_cast<size_t>(r * all.cols()), static_cast<size_t>(all.cols()));
    };
    for (const int64_t chunk : {kPrompt, int64_t{5}, int64_t{1}}) {
      Engine engine(ctx_, *m, {.context = kTokens, .chunk = chunk});
      const Tensor prompt = engine.prefill(0, std::span(ids).first(kPrompt));
      EXPECT_LT(relative_error(prompt.values(), row(kPrompt - 1)), 1e-5) << name << " chunk " << chunk;
      for (int64_t t = kPrompt; t < kTokens; ++t) {
        const Engine::Rows rows{0, {&ids[static_cast<size_t>(t)], 1}, RowRole::generated};
        EXPECT_LT(relative_error(engine.forward({&rows, 1}).values(), row(t)), 1e-5)
            << name << " token " << t;
      }
    }
  }
}

std::vector<int32_t> greedy(Context& ctx, Model& m, std::vector<int32_t> prompt,
                            const EngineOptions& options) {
  Engine engine(ctx, m, options);
  return engine.generate({.prompt = std::move(prompt), .max_tokens = 12, .sampling = {.temperature = 0}}).ids;
}

TEST_F(EngineTest, RepliesDoNotDependOnThreadsOrChunks) {
  for (const std::string& name : golden_models()) {
    const auto m = model(name);
    const auto prompt = random_ids(11, m->shape().vocab_size, 9);
    const auto expected = greedy(ctx_, *m, prompt, {.context = 32});
    EXPECT_EQ(expected.size(), 12u);
    for (const int threads : {1, 3, 8}) {
      ThreadPool pool(threads);
      Context ctx{pool, kernels::best()};
      EXPECT_EQ(greedy(ctx, *m, prompt, {.context = 32, .chunk = 4}), expected)
          << name << " threads " << threads;
    }
  }
}

TEST_F(EngineTest, BitsDoNotDependOnBatching) {
  for (const std::string& name : golden_models()) {
    const auto m = model(name);
    const int64_t vocab = m->shape().vocab_size;
    const auto a = random_ids(9, vocab, 1), b = random_ids(5, vocab, 2);
    const int32_t next_a = 3, next_b = 4;
    Engine alone(ctx_, *m, {.context = 32}), together(ctx_, *m, {.context = 32, .slots = 2});
    alone.prefill(0, a);
    const Engine::Rows single{0, {&next_a, 1}, RowRole::generated};
    const Tensor expected = alone.forward({&single, 1});
    together.prefill(1, a);
    together.prefill(0, b);
    const std::vector<Engine::Rows> rows{{0, {&next_b, 1}, RowRole::generated},
                                         {1, {&next_a, 1}, RowRole::generated}};
    const Tensor both = together.forward(rows);
    ASSERT_EQ(both.shape(), (Shape{2, vocab}));
    const auto got = both.values().subspan(static_cast<size_t>(vocab));
    EXPECT_EQ(std::memcmp(got.data(), expected.f32(), got.size_bytes()), 0) << name;
  }
}

TEST_F(EngineTest, PrefixesAreReusedAndChangeNothing) {
  const auto m = model("v3_full");
  const auto prompt = random_ids(10, 50, 3);
  Engine engine(ctx_, *m, {.context = 64});
  const Generation first =
      engine.generate({.prompt = prompt, .max_tokens = 6, .sampling = {.temperature = 0}});
  EXPECT_EQ(first.reused_tokens, 0);
  std::vector<int32_t> longer = prompt;
  longer.insert(longer.end(), first.ids.begin(), first.ids.end());
  longer.push_back(7);
  const Generation second =
      engine.generate({.prompt = longer, .max_tokens = 6, .sampling = {.temperature = 0}});
  EXPECT_EQ(second.reused_tokens, 10);  // generated rows are read again
  auto fresh = greedy(ctx_, *m, longer, {.context = 64});
  fresh.resize(6);
  EXPECT_EQ(second.ids, fresh);
  const Generation again =
      engine.generate({.prompt = longer, .max_tokens = 6, .sampling = {.temperature = 0}});
  EXPECT_EQ(again.reused_tokens, 16);  // all but the last
  EXPECT_EQ(again.ids, fresh);
  engine.clear(0);
  EXPECT_EQ(engine.held(0), 0);
}

TEST_F(EngineTest, EndsForTheRightReason) {
  const auto m = model("llama_gqa");
  const std::vector<int32_t> prompt{1, 2, 3};
  const auto ids = greedy(ctx_, *m, prompt, {.context = 32});
  Engine engine(ctx_, *m, {.context = 8});
  GenerationRequest request{.prompt = prompt, .max_tokens = 2, .sampling = {.temperature = 0}};
  EXPECT_EQ(engine.generate(request).reason, FinishReason::length);
  request.max_tokens = 0;
  const Generation full = engine.generate(request);
  EXPECT_EQ(full.reason, FinishReason::length);
  EXPECT_EQ(full.ids.size(), 5u);  // 3 + 5 = 8
  const size_t first = static_cast<size_t>(std::ranges::find(ids, ids[2]) - ids.begin());
  request.stop_ids = {ids[2]};
  const Generation stopped = engine.generate(request);
  EXPECT_EQ(stopped.reason, FinishReason::stop);
  EXPECT_EQ(stopped.ids, std::vector<int32_t>(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(first)));
  request.stop_ids = {};
  const Generation cancelled = engine.generate(request, [](int32_t) { return false; });
  EXPECT_EQ(cancelled.reason, FinishReason::cancelled);
  EXPECT_EQ(cancelled.ids.size(), 1u);
}

TEST_F(EngineTest, SampledRepliesRepeatWithTheirSeed) {
  const auto m = model("v2_grouped");
  Engine engine(ctx_, *m, {.context = 64});
  const auto run = [&](int64_t seed) {
    return engine.generate({.prompt = {1, 2}, .max_tokens = 20, .sampling = {.temperature = 1, .seed = seed}})
        .ids;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST_F(EngineTest, Bf16CacheStaysClose) {
  for (const char* name : {"v3_full", "llama_gqa"}) {
    const auto m = model(name);
    const auto ids = random_ids(12, m->shape().vocab_size, 4);
    Engine exact(ctx_, *m, {.context = 16}), small(ctx_, *m, {.context = 16, .kv_format = &formats::bf16});
    EXPECT_EQ(small.cache().bytes() * 2, exact.cache().bytes());
    exact.prefill(0, ids);
    small.prefill(0, ids);
    const int32_t next = 3;
    const Engine::Rows rows{0, {&next, 1}, RowRole::generated};
    const double error =
        relative_error(small.forward({&rows, 1}).values(), exact.forward({&rows, 1}).values());
    EXPECT_LT(error, 0.2) << name;
    EXPECT_GT(error, 0) << name << ": the format took no effect";
  }
}

TEST_F(EngineTest, BadRequestsAreErrors) {
  const auto m = model("llama_gqa");
  EXPECT_THROW(Engine(ctx_, *m, {.context = 129}), UsageError);  // made for 128
  EXPECT_THROW(Engine(ctx_, *m, {.context = -1}), UsageError);
  EXPECT_THROW(Engine(ctx_, *m, {.slots = 0}), UsageError);
  EXPECT_THROW(Engine(ctx_, *m, {.chunk = 0}), UsageError);
  Engine engine(ctx_, *m, {.context = 4});
  EXPECT_THROW(engine.generate({}), Error);
  EXPECT_THROW(engine.generate({.prompt = {1, 2, 3, 4}}), Error);
  EXPECT_THROW(engine.generate({.prompt = {64}}), Error);
  EXPECT_THROW(engine.generate({.prompt = {-1}}), Error);
  EXPECT_THROW(engine.generate({.prompt = {1}, .max_tokens = -1}), UsageError);
  EXPECT_THROW(engine.generate({.prompt = {1}, .sampling = {.temperature = -1}}), UsageError);
  EXPECT_EQ(engine.generate({.prompt = {1, 2}, .max_tokens = 1}).ids.size(), 1u);  // still works
}

}  // namespace
}  // namespace frugal
