#include "train/checkpoint.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "io/model_files.h"
#include "train/fixtures.h"

namespace frugal {
namespace {

struct Outcome {
  std::vector<float> weights;
  int64_t position = 0;
  double last_loss = 0;
};

// Trains from scratch or from what is in `run`, to `stop_at` (0: the end of the budget).
Outcome train(const fs::path& run, const TrainOptions& options, int64_t stop_at, int threads = 2,
              int64_t steps = 10, std::string_view config = kTinyV3, uint64_t seed = 1) {
  ThreadPool pool(threads);
  Context ctx{pool, kernels::best()};
  auto model = tiny_model(ctx, config, seed);
  TinyData data;
  Outcome outcome;
  std::atomic<bool> stop{false};
  TrainerHooks hooks;
  hooks.run = run;
  hooks.stop = &stop;
  hooks.model_files = {{"tokenizer.json", "{}"}};
  hooks.on_step = [&](const StepRecord& record) {
    outcome.last_loss = record.loss;
    stop = record.step == stop_at;
  };
  Trainer trainer(ctx, *model, data, options, {.steps = steps}, hooks);
  trainer.resume();
  trainer.run();
  outcome.weights = all_values(*model);
  outcome.position = data.position();
  return outcome;
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Checkpoint, ResumeIsBitExact) {
  for (const OptimizerKind& kind : all_optimizers()) {
    SCOPED_TRACE(kind.name);
    TrainOptions options = tiny_options();
    options.optimizer.name = kind.name;
    const RunDirectory whole, parts;
    const Outcome straight = train(whole.path(), options, 0);
    options.save_every = 2;  // also in the background, while training goes on
    train(parts.path(), options, 3, 1);
    train(parts.path(), options, 7, 3);
    const Outcome resumed = train(parts.path(), options, 0, 2, 10, kTinyV3, 99);
    EXPECT_TRUE(same_bits(straight.weights, resumed.weights));
    EXPECT_EQ(straight.position, resumed.position);
    EXPECT_EQ(straight.last_loss, resumed.last_loss);
  }
}

TEST(Checkpoint, StacksAreResumedFrom) {
  const RunDirectory whole, parts;
  const Outcome straight = train(whole.path(), tiny_options(), 0, 1, 10, kTinyGptOss);
  train(parts.path(), tiny_options(), 4, 1, 10, kTinyGptOss);
  const Outcome resumed = train(parts.path(), tiny_options(), 0, 1, 10, kTinyGptOss, 99);
  EXPECT_TRUE(same_bits(straight.weights, resumed.weights));
}

TEST(Checkpoint, TheModelDirectoryIsHuggingFaces) {
  for (const std::string_view config : {kTinyV3, kTinyLlama, kTinyGptOss}) {
    const RunDirectory run, again;
    const Outcome outcome = train(run.path(), tiny_options(), 0, 1, 10, config);
    ThreadPool pool(1);
    Context ctx{pool, kernels::best()};
    auto model = load_model(ctx, find_model(run.path().string()));
    EXPECT_TRUE(same_bits(all_values(*model), outcome.weights));
    EXPECT_EQ(read_file(run.path() / "model" / "tokenizer.json"), "{}");
    save_model(again.path(), *model, {});  // the one other place that writes models writes the same bytes
    for (const char* file : {"config.json", "model.safetensors"}) {
      EXPECT_EQ(read_file(run.path() / "model" / file), read_file(again.path() / file)) << file;
    }
  }
}

TEST(Checkpoint, OnlyTheLastAreKept) {
  const RunDirectory run;
  TrainOptions options = tiny_options();
  options.save_every = 1;
  options.keep_last = 3;
  train(run.path(), options, 0);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run.path() / "checkpoints"))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"0008-step-8", "0009-step-9", "0010-step-10"}));
  EXPECT_EQ(fs::read_symlink(run.path() / "latest"), "checkpoints/0010-step-10");
}

TEST(Checkpoint, ASpentBudgetAndALargerOne) {
  const RunDirectory run;
  train(run.path(), tiny_options(), 0);
  EXPECT_NE(error_of([&] { train(run.path(), tiny_options(), 0); }).find("already spent"), std::string::npos);
  train(run.path(), tiny_options(), 0, 1, 15);
  EXPECT_EQ(fs::read_symlink(run.path() / "latest").filename(), "0002-step-15");
}

TEST(Checkpoint, OtherModelsAndOptimizersAreRefused) {
  const RunDirectory run;
  train(run.path(), tiny_options(), 5);
  const std::string other = error_of([&] { train(run.path(), tiny_options(), 0, 1, 10, kTinyLlama); });
  EXPECT_NE(other.find("another model"), std::string::npos) << other;
  TrainOptions options = tiny_options();
  options.optimizer.name = "muon";
  const std::string optimizer = error_of([&] { train(run.path(), options, 0); });
  EXPECT_NE(optimizer.find("optimizer adamw"), std::string::npos) << optimizer;
}

TEST(Checkpoint, DamageIsNoticed) {
  const RunDirectory run;
  train(run.path(), tiny_options(), 5);
  for (const char* name : {"model/model.safetensors", "model/config.json", "state/optimizer.safetensors",
                           "state/state.json", "state/files.json"}) {
    SCOPED_TRACE(name);
    const fs::path path = run.path() / name;
    const std::string content = read_file(path);
    const auto expect_refused = [&](const std::string& damaged) {
      std::ofstream(path, std::ios::binary) << damaged;
      const std::string error = error_of([&] { train(run.path(), tiny_options(), 0); });
      EXPECT_FALSE(error.empty());
    };
    expect_refused(content.substr(0, content.size() / 2));
    expect_refused("");
    std::string flipped = content;
    flipped[content.size() * 2 / 3] ^= 1;
    expect_refused(flipped);
    fs::remove(path);
    EXPECT_FALSE(error_of([&] { train(run.path(), tiny_options(), 0); }).empty());
    std::ofstream(path, std::ios::binary) << content;
  }
  train(run.path(), tiny_options(), 0);  // whole again
}

TEST(Checkpoint, AFullDiskIsAnErrorAndLosesNothing) {
  const RunDirectory run;
  TrainOptions options = tiny_options();
  train(run.path(), options, 5);
  const Outcome before = train(run.path(), options, 6);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{20'000, old.rlim_max};  // files cannot grow beyond: the weights do not fit
  ::setrlimit(RLIMIT_FSIZE, &small);
  options.save_every = 1;
  const std::string error = error_of([&] { train(run.path(), options, 0); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  EXPECT_NE(error.find("could not be written"), std::string::npos) << error;
  EXPECT_NE(error.find("0002-step-6 is unharmed"), std::string::npos) << error;
  for (const auto& entry : fs::directory_iterator(run.path() / "checkpoints")) {
    EXPECT_NE(entry.path().extension(), ".tmp");
  }
  const RunDirectory whole;
  options.save_every = 0;
  EXPECT_TRUE(same_bits(train(run.path(), options, 0).weights, train(whole.path(), options, 0).weights));
}

TEST(Checkpoint, OneTrainerPerDirectory) {
  const RunDirectory run;
  const CheckpointStore store(run.path(), 2);
  EXPECT_NE(error_of([&] { CheckpointStore(run.path(), 2); }).find("another process"), std::string::npos);
}

TEST(Checkpoint, ImpossiblePlaces) {
  const RunDirectory run;
  std::ofstream(run.path() / "file") << "x";
  EXPECT_FALSE(error_of([&] { CheckpointStore(run.path() / "file", 2); }).empty());
  fs::create_directories(run.path() / "used" / "model");
  const std::string error = error_of([&] { train(run.path() / "used", tiny_options(), 0); });
  EXPECT_NE(error.find("no link of a training run"), std::string::npos) << error;
}

// Trains in a child that saves after every step and kills it after `microseconds`; true when it was still at
// work.
bool train_and_kill(const fs::path& run, const TrainOptions& options, uint64_t microseconds) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      train(run, options, 0, 1, 1000);
    } catch (const std::exception&) {
    }
    ::_exit(1);  // it cannot come to its end in time, so it could not resume
  }
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
  ::kill(child, SIGKILL);
  int status = 0;
  return child > 0 && ::waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

// Whatever the moment, what is there must load, and training must go on from it to the same end.
TEST(Checkpoint, SurvivesKillsAtAnyMoment) {
  const RunDirectory run, whole;
  TrainOptions options = tiny_options();
  options.batch = 1;
  options.save_every = 1;
  const auto start = std::chrono::steady_clock::now();
  train(whole.path(), options, 4, 1, 1000);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Rng rng(11);
  int64_t last = 0;
  for (int kill = 0; kill < 30; ++kill) {
    ASSERT_TRUE(train_and_kill(run.path(), options, 1000 + rng.below(static_cast<uint64_t>(2e6 * seconds))));
    std::error_code error;
    const fs::path latest = fs::read_symlink(run.path() / "latest", error);
    EXPECT_EQ(!error, fs::exists(run.path() / "model"));
    if (error) continue;
    const Checkpoint checkpoint(run.path() / latest);
    EXPECT_NO_THROW(SafetensorsDirectory(run.path() / "model"));
    const auto step = checkpoint.state()["step"].get<int64_t>();
    EXPECT_GE(step, last);
    last = step;
  }
  EXPECT_GT(last, 3);
  const Outcome straight = train(whole.path(), options, last + 2, 1, 1000);
  EXPECT_TRUE(same_bits(straight.weights, train(run.path(), options, last + 2, 1, 1000).weights));
}

}  // namespace
}  // namespace frugal
