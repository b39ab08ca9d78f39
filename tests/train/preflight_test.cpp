#include "train/preflight.h"

#include <fstream>

#include "train/fixtures.h"

namespace frugal {
namespace {

TEST(Preflight, TheEstimateIsWhatARunTakes) {
  for (const std::string_view config : {kTinyV3, kTinyLlama, kTinyGptOss}) {
    for (const char* optimizer : {"adamw", "muon"}) {
      for (const bool recompute : {false, true}) {
        SCOPED_TRACE(fmt::format("{} recompute {}", optimizer, recompute));
        ThreadPool pool(1);
        const Context ctx{pool, kernels::best()};
        // Wide enough that blocks of the allocator (4 KB at least) are not what is measured.
        Json wide = parse_json(config, "config");
        wide["hidden_size"] = 128;
        wide["intermediate_size"] = 256;
        wide["vocab_size"] = 500;
        const RunDirectory run;
        TrainOptions options = tiny_options();
        options.optimizer.name = optimizer;
        options.recompute = recompute;
        options.batch = 8;
        options.micro_batch = 4;
        options.context = 64;
        const MemoryNeed need = training_memory(
            ctx, [&] { return create_model(wide); }, options, true);
        Context real = ctx;
        real.memory = Allocator::create();
        auto model = create_model(wide);
        initialise(real, *model, 1);
        make_trainable(*model);
        TinyData data(500);
        TrainerHooks hooks;
        hooks.run = run.path();
        Trainer(real, *model, data, options, {.steps = 2}, hooks).run();
        const auto held = static_cast<double>(real.memory->mapped());
        EXPECT_NEAR(static_cast<double>(need.total()) / held, 1, 0.05);
        EXPECT_GT(need.activations, 0);
      }
    }
  }
}

TEST(Preflight, RecomputationAndMicroBatchesNeedLess) {
  ThreadPool pool(1);
  const Context ctx{pool, kernels::best()};
  const auto create = [] { return create_model(parse_json(kTinyV3, "config")); };
  TrainOptions options = tiny_options();
  options.batch = 16;
  options.context = 64;
  const int64_t plain = training_memory(ctx, create, options, false).activations;
  options.micro_batch = 4;
  const int64_t split = training_memory(ctx, create, options, false).activations;
  options.recompute = true;
  const int64_t recomputed = training_memory(ctx, create, options, false).activations;
  EXPECT_LT(split, plain / 3);
  EXPECT_LT(recomputed, split);
}

// Nothing is touched: a model of 671 billion parameters is measured like any other.
TEST(Preflight, HugeModelsAreMeasuredAndRefused) {
  ThreadPool pool(1);
  const Context ctx{pool, kernels::best()};
  const auto create = [] { return create_model(preset_config("v2-lite")); };
  TrainOptions options;
  options.batch = 8;
  options.context = 2048;
  const MemoryNeed need = training_memory(ctx, create, options, false);
  EXPECT_NEAR(static_cast<double>(need.parameters), 15.7e9 * 4, 2e9);
  try {
    require_memory(ctx, create, options, true, int64_t{6} << 30);
    FAIL() << "fits";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("this machine has 6.44 GB"), std::string::npos) << error.what();
  }
}

TEST(Preflight, SaysWhatWouldFit) {
  ThreadPool pool(1);
  const Context ctx{pool, kernels::best()};
  const auto create = [] { return create_model(parse_json(kTinyV3, "config")); };
  TrainOptions options = tiny_options();
  options.batch = 512;
  options.context = 64;
  const MemoryNeed need = training_memory(ctx, create, options, false);
  ASSERT_GT(need.total(), 100'000'000);
  try {
    require_memory(ctx, create, options, false, 90'000'000);
    FAIL() << "fits";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("train.micro_batch = "), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(require_memory(ctx, create, options, false, int64_t{1} << 40));
}

void write(const fs::path& file, std::string_view text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

TEST(Preflight, AvailableMemoryRespectsControlGroups) {
  const RunDirectory files;
  const fs::path proc = files.path() / "proc", groups = files.path() / "cgroup";
  write(proc / "meminfo", "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n");
  EXPECT_EQ(available_memory(proc, groups), 8000 * 1024);
  write(groups / "memory.max", "max\n");
  write(groups / "memory.current", "1000\n");
  EXPECT_EQ(available_memory(proc, groups), 8000 * 1024);
  write(proc / "self" / "cgroup", "1:name=systemd:/x\n0::/a/b\n");
  write(groups / "a" / "memory.max", "5000\n");
  write(groups / "a" / "memory.current", "3000\n");
  write(groups / "a" / "memory.stat", "anon 1000\ninactive_file 400\nactive_file 100\n");
  EXPECT_EQ(available_memory(proc, groups), 2500);
  EXPECT_GT(available_memory(), 0);
}

}  // namespace
}  // namespace frugal
