// frugal tune as users meet it: a run, its adapter used and merged, stopping and going on, mistakes.
#include <signal.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "cli/command_line.h"

namespace frugal {
namespace {

class TuneVerb : public CommandLine {
 protected:
  std::string examples(int count = 12) const {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      lines +=
          to_text(Json{{"messages",
                        Json::array({{{"role", "user"}, {"content", fmt::format("How many boats, {}?", i)}},
                                     {{"role", "assistant"},
                                      {"content", fmt::format("There were {} small boats.", i)}}})}}) +
          "\n";
    }
    return file("examples.jsonl", lines);
  }
  std::string recipe(const std::string& more = "", const std::string& init = model()) const {
    return file("t.toml",
                fmt::format("init = \"{}\"\noutput = \"{}\"\n[data]\ntrain = [\"{}\"]\nvalid = [\"{}\"]\n"
                            "[budget]\nsteps = 12\n[train]\nbatch = 2\ncontext = 96\nsave_minutes = 0\n"
                            "optimizer = {{ lr = 1e-2 }}\n{}",
                            init, (dir_ / "out").string(), examples(), examples(), more));
  }
  Finished tune(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"tune", (dir_ / "t.toml").string(), "--quiet", "--threads", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }
  // The logits of some ids, as the file holds them.
  std::string logits(const std::vector<std::string>& model_arguments) const {
    std::vector<std::string> all = {"logits"};
    all.insert(all.end(), model_arguments.begin(), model_arguments.end());
    const std::string ids = file("ids.json", "[5, 9, 77, 8, 200, 3]");
    for (const std::string& part : {std::string("--ids"), ids, std::string("--out"),
                                    (dir_ / "l.npy").string(), std::string("--quiet")}) {
      all.push_back(part);
    }
    const Finished done = run(all);
    EXPECT_EQ(done.code, 0) << done.err;
    return read_file(dir_ / "l.npy").substr(128);
  }
  static double worst(const std::string& a, const std::string& b) {
    EXPECT_EQ(a.size(), b.size());
    double most = 0;
    for (size_t i = 0; i + 4 <= a.size(); i += 4) {
      float x = 0, y = 0;
      std::memcpy(&x, a.data() + i, 4);
      std::memcpy(&y, b.data() + i, 4);
      most = std::max(most, static_cast<double>(std::abs(x - y)));
    }
    return most;
  }
};

TEST_F(TuneVerb, MakesAnAdapterThatEveryVerbTakes) {
  recipe("[adapter]\nrank = 4\n");
  const std::string weights = read_file(fs::path(model()) / "model" / "model.safetensors");
  const Finished done = tune({"--json"});
  ASSERT_EQ(done.code, 0) << done.err;
  const Json result = parse_json(done.out, "stdout");
  EXPECT_EQ(result["tokens"], 12 * 2 * 96);
  EXPECT_GT(result["val_tuned"].get<double>(), 0);
  EXPECT_GT(result["val_before"].get<double>(), result["val_tuned"].get<double>());
  EXPECT_EQ(read_file(fs::path(model()) / "model" / "model.safetensors"), weights);
  const fs::path out = dir_ / "out";
  for (const char* name : {"recipe.toml", "log.jsonl", "report.html", "adapter/adapter_config.json",
                           "adapter/adapter_model.safetensors", "adapter/tokenizer.json",
                           "adapter/generation_config.json", "state/state.json"}) {
    EXPECT_TRUE(fs::exists(out / name)) << name;
  }
  EXPECT_FALSE(fs::exists(out / "model"));
  expect_contains(read_file(out / "report.html"), "Tuning");
  double first = 0, last = 0, before = 0;
  std::ifstream log(out / "log.jsonl");
  for (std::string line; std::getline(log, line);) {
    const Json json = parse_json(line, "log");
    if (json["event"] == "tune_evaluation" && json["step"] == 0) before = json["validation"].get<double>();
    if (json["event"] != "tune_step") continue;
    (json["step"] == 1 ? first : last) = json["loss"].get<double>();
  }
  EXPECT_LT(last, 0.8 * first);
  EXPECT_EQ(result["val_before"], before);

  // Beside the model, as a model of its own, merged into a directory and into a GGUF file.
  const std::string adapted = logits({model(), "--adapter", out.string()});
  EXPECT_GT(worst(adapted, logits({model()})), 0.05);
  EXPECT_EQ(logits({out.string()}), adapted);
  ASSERT_EQ(run({"convert", model(), (dir_ / "merged").string(), "--adapter", out.string(), "--format", "f32",
                 "--quiet"})
                .code,
            0);
  EXPECT_LT(worst(logits({(dir_ / "merged").string()}), adapted), 1e-4);
  ASSERT_EQ(run({"convert", out.string(), (dir_ / "m.gguf").string(), "--format", "f32", "--quiet"}).code, 0);
  EXPECT_LT(worst(logits({(dir_ / "m.gguf").string()}), adapted), 1e-4);
  const Finished text = run({"generate", out.string(), "-p", "How many", "-n", "4", "--quiet"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(run({"chat", model(), "--adapter", out.string(), "-n", "4", "--quiet"}, "boats?\n").code, 0);
}

TEST_F(TuneVerb, AQuantisedFileIsABaseToo) {
  ASSERT_EQ(run({"convert", model(), (dir_ / "base.gguf").string(), "--format", "q8_0", "--quiet"}).code, 0);
  recipe("[adapter]\nkind = \"dora\"\nrank = 4\ntarget_modules = [\"o_proj\", \"kv_b_proj\"]\n",
         (dir_ / "base.gguf").string());
  const std::string before = read_file(dir_ / "base.gguf");
  const Finished done = tune();
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(read_file(dir_ / "base.gguf"), before);
  const std::string adapted = logits({(dir_ / "base.gguf").string(), "--adapter", (dir_ / "out").string()});
  ASSERT_EQ(
      run({"convert", (dir_ / "out").string(), (dir_ / "merged").string(), "--format", "f32", "--quiet"})
          .code,
      0);
  EXPECT_LT(worst(logits({(dir_ / "merged").string()}), adapted), 1e-4);
}

TEST_F(TuneVerb, TheWholeModelToo) {
  recipe("[adapter]\nkind = \"none\"\n");
  const Finished done = tune();
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(fs::exists(dir_ / "out/model/model.safetensors"));
  EXPECT_GT(worst(logits({(dir_ / "out").string()}), logits({model()})), 0.05);
}

// Stopped in the middle and gone on with another number of threads: the same bits; dropout included.
TEST_F(TuneVerb, GoesOnWhereItStopped) {
  recipe("[adapter]\nrank = 4\ndropout = 0.1\ntarget_modules = [\"o_proj\"]\n");
  ASSERT_EQ(tune().code, 0);
  const std::string whole = read_file(dir_ / "out/adapter/adapter_model.safetensors");
  const std::string two = "output=" + (dir_ / "two").string();
  const pid_t pid = start_program(
      dir_, {"tune", (dir_ / "t.toml").string(), "--quiet", "--set", two, "--set", "train.save_every=1"}, "",
      {"HOME=" + dir_.string()});
  for (int i = 0; i < 3000; ++i) {
    if (fs::exists(dir_ / "two/latest")) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(pid, SIGKILL);
  EXPECT_TRUE(fs::exists(dir_ / "two/latest"));
  wait_for_program(pid, dir_);
  const Finished more = tune({"--set", two, "--threads", "1"});
  ASSERT_EQ(more.code, 0) << more.err;
  EXPECT_EQ(read_file(dir_ / "two/adapter/adapter_model.safetensors"), whole);
}

TEST_F(TuneVerb, LearnsPreferences) {
  std::string lines;
  for (int i = 0; i < 4; ++i) {
    lines += fmt::format(
        "{{\"prompt\": \"{} boats\", \"chosen\": \" on the sea\", \"rejected\": \" upon a time\"}}\n", i);
  }
  recipe("[adapter]\nrank = 4\n");
  const std::string pairs = file("pairs.jsonl", lines);
  const Finished done =
      tune({"--set", "method=dpo", "--set", "data.train=" + pairs, "--set", "data.valid=" + pairs});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(fs::exists(dir_ / "out/reference.train.json"));
  EXPECT_TRUE(fs::exists(dir_ / "out/adapter/adapter_model.safetensors"));
  expect_contains(read_file(dir_ / "out/log.jsonl"), "share of pairs preferred rightly");
  expect_contains(read_file(dir_ / "out/report.html"), "Reward margin");
}

// Practice with rewards of a program; stopped in the middle, the same bits as without.
TEST_F(TuneVerb, LearnsFromRewards) {
  recipe(
      "[adapter]\nrank = 4\n[grpo]\ngroup = 4\nmax_tokens = 8\nupdates = 2\n"
      "reward.command = [\"sed\", \"s/.*\\\"tokens\\\":\\\\([0-9]*\\\\).*/\\\\1/\"]\n");
  const std::vector<std::string> grpo = {"--set", "method=grpo",   "--set", "data.train=[]",
                                         "--set", "data.valid=[]", "--set", "data.sums=20",
                                         "--set", "data.digits=2", "--set", "train.batch=8"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), grpo.begin(), grpo.end());
    return more;
  };
  Finished done = tune(with({}));
  ASSERT_EQ(done.code, 0) << done.err;
  const std::string whole = read_file(dir_ / "out/adapter/adapter_model.safetensors");
  expect_contains(read_file(dir_ / "out/report.html"), "Tokens of a reply");
  const std::string two = "output=" + (dir_ / "two").string();
  std::vector<std::string> all = {"tune", (dir_ / "t.toml").string(), "--quiet"};
  for (const std::string& part : with({"--set", two, "--set", "train.save_every=1"})) all.push_back(part);
  const pid_t pid = start_program(dir_, all, "", {"HOME=" + dir_.string()});
  for (int i = 0; i < 3000 && !fs::exists(dir_ / "two/latest"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(pid, SIGKILL);
  EXPECT_TRUE(fs::exists(dir_ / "two/latest"));
  wait_for_program(pid, dir_);
  done = tune(with({"--set", two, "--threads", "1"}));
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(read_file(dir_ / "two/adapter/adapter_model.safetensors"), whole);
  expect_contains(error(1, {"tune", (dir_ / "t.toml").string(), "--quiet", "--set", "method=grpo", "--set",
                            "data.train=[]", "--set", "data.valid=[]", "--set", "data.sums=20", "--set",
                            "train.batch=8", "--set", "output=" + (dir_ / "three").string(), "--set",
                            "grpo.reward.command=[\"sh\", \"-c\", \"exit 3\"]"}),
                  "grpo.reward.command: sh -c exit 3: ended with status 3");
}

TEST_F(TuneVerb, MistakesAreNamed) {
  recipe("[adapter]\nrank = 4\ntarget_modules = [\"qproj\"]\n");
  expect_contains(error(2, {"tune", (dir_ / "t.toml").string(), "--quiet"}),
                  "no matrix of this model is called 'qproj'");
  recipe("", (dir_ / "nowhere").string());
  expect_contains(error(1, {"tune", (dir_ / "t.toml").string(), "--quiet"}), "no such model");
  recipe();
  file("examples.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n");
  expect_contains(error(1, {"tune", (dir_ / "t.toml").string(), "--quiet"}),
                  "examples.jsonl:1: no message of the role");
  recipe();
  expect_contains(error(1, {"tune", (dir_ / "t.toml").string(), "--quiet", "--set", "train.context=8",
                            "--set", "data.too_long=error"}),
                  "train.context is 8");
  expect_contains(error(1, {"logits", model(), "--adapter", dir_.string(), "--ids", file("i.json", "[1]"),
                            "--out", "x.npy"}),
                  "no adapter here");
}

}  // namespace
}  // namespace frugal
