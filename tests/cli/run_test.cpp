// frugal run and frugal train as users meet them: a whole small run, stopping and going on, kills at any
// moment, full disks, and everything a recipe can get wrong.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/process.h"
#include "core/json.h"

namespace frugal {
namespace {

constexpr const char* kRecipe = R"(output = "out"
[data.synthetic]
train_bytes = 60000
valid_bytes = 4000
questions = 4
[tokenizer]
vocab_size = 320
[model]
preset = "nano"
num_hidden_layers = 2
hidden_size = 32
intermediate_size = 64
moe_intermediate_size = 16
n_routed_experts = 4
num_attention_heads = 2
kv_lora_rank = 16
qk_rope_head_dim = 8
qk_nope_head_dim = 16
v_head_dim = 16
[budget]
steps = 40
[train]
batch = 4
context = 64
save_every = 10
[samples]
count = 1
tokens = 8
)";

class RunVerb : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "frugal_run_verb_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
    fs::current_path(dir_);
    file("r.toml", kRecipe);
  }
  void TearDown() override {
    fs::current_path("/");
    fs::remove_all(dir_);
  }

  std::vector<std::string> variables() const {
    return {"HOME=" + dir_.string(),
            "XDG_CACHE_HOME=", "XDG_DATA_HOME=", "XDG_CONFIG_HOME=", "FRUGAL_LEDGER="};
  }
  static std::vector<std::string> with(std::vector<std::string> first, const std::vector<std::string>& more) {
    first.insert(first.end(), more.begin(), more.end());
    return first;
  }
  Finished run(const std::vector<std::string>& more = {}) const {
    return run_program(dir_, with({"run", "r.toml", "--quiet"}, more), "", variables());
  }
  pid_t start(const std::vector<std::string>& more) const {
    return start_program(dir_, with({"run", "r.toml", "--quiet"}, more), "", variables());
  }
  Json json(const std::vector<std::string>& more = {}) const {
    const Finished done = run(with({"--json"}, more));
    EXPECT_EQ(done.code, 0) << done.err;
    EXPECT_EQ(std::ranges::count(done.out, '\n'), 1);
    return parse_json(done.out, "stdout");
  }
  // Fails with one line on stderr and nothing on stdout.
  std::string error(int code, const std::vector<std::string>& more) const {
    const Finished done = run(more);
    EXPECT_EQ(done.code, code) << done.err;
    EXPECT_EQ(done.out, "");
    EXPECT_TRUE(done.err.starts_with("frugal: ")) << done.err;
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    return done.err;
  }
  fs::path file(const std::string& name, const std::string& content) const {
    write_file_atomically(dir_ / name, content);
    return dir_ / name;
  }
  // Until the log of `out` tells of this step; false after a minute.
  bool wait_for_step(int step) const {
    const std::string wanted = "\"step\":" + std::to_string(step) + ",";
    for (int i = 0; i < 6000; ++i) {
      if (fs::exists(dir_ / "out/log.jsonl") &&
          read_file(dir_ / "out/log.jsonl").find(wanted) != std::string::npos) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  std::string weights(const char* run_name) const {
    return read_file(dir_ / run_name / "model/model.safetensors");
  }

  fs::path dir_;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << " lacks " << part;
}

TEST_F(RunVerb, TrainsEvaluatesAndReports) {
  const Json result = json();
  EXPECT_EQ(result["tokens"], 40 * 4 * 64);
  EXPECT_GT(result["seconds"].get<double>(), 0);
  EXPECT_GT(result["val_bits_per_byte"].get<double>(), 1);
  EXPECT_LE(result["joules"]["low"].get<double>(), result["joules"]["high"].get<double>());
  EXPECT_TRUE(result["joules"]["measured"].is_boolean());
  EXPECT_GE(result["dollars"].get<double>(), 0);
  EXPECT_GE(result["co2_g"].get<double>(), 0);
  const Json stages = parse_json(read_file(dir_ / "out/stages.json"), "stages")["stages"];
  for (const char* name :
       {"pretrain", "evaluate", "samples"}) {  // all that computes with the model is counted
    const auto stage = std::ranges::find(stages, name, [](const Json& s) { return s["name"]; });
    ASSERT_NE(stage, stages.end()) << name;
    for (const char* key : {"flops", "bytes", "tokens"})
      EXPECT_GT((*stage)["bill"][key].get<double>(), 0) << name << " " << key;
  }
  for (const char* name : {"recipe.toml", "log.jsonl", "report.html", "model/config.json",
                           "model/model.safetensors", "model/tokenizer.json", "model/tokenizer_config.json",
                           "model/generation_config.json", "state/state.json", "corpus/questions.jsonl"}) {
    EXPECT_TRUE(fs::exists(dir_ / "out" / name)) << name;
  }
  const std::string report = read_file(dir_ / "out/report.html");
  for (const char* part : {"The bill", "Load of the experts", "held-out", "Samples"})
    expect_contains(report, part);

  const Finished text = run_program(dir_, {"generate", "out", "-p", "The cat", "-n", "8"}, "", variables());
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_FALSE(text.out.empty());
  const Finished ledger = run_program(dir_, {"ledger", "list", "--json"}, "", variables());
  const Json runs = parse_json(ledger.out, "ledger")["runs"];
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0]["verb"], "run");
  EXPECT_EQ(runs[0]["status"], "done");

  // Again: everything is there already, and the figures are the same.
  const std::string before = weights("out");
  EXPECT_EQ(json(), result);
  EXPECT_EQ(weights("out"), before);
  // The run directory stands for its recipe.
  const Finished again = run_program(dir_, {"run", "out", "--json", "--quiet"}, "", variables());
  EXPECT_EQ(parse_json(again.out, "stdout"), result);
}

constexpr const char* kStudent = R"([student]
from_scratch = true
model = { hidden_size = 16 }
budget = { steps = 12 }
distill = { tokens = 2000, draws = 8 }
[student.tune]
method = "sft"
data.train = "synthetic"
adapter.kind = "none"
budget.steps = 3
train = { batch = 2, context = 128 }
)";

TEST_F(RunVerb, AStudentIsDistilledTunedAndCompared) {
  std::string recipe = kRecipe;
  recipe.insert(recipe.find("[tokenizer]"), "practice = 40\n");
  file("r.toml", recipe + kStudent);
  const Json result = json();
  ASSERT_EQ(result["models"].size(), 4u);
  const char* names[] = {"teacher", "student", "student, tuned", "scratch"};
  for (size_t i = 0; i < 4; ++i) {
    const Json& model = result["models"][i];
    EXPECT_EQ(model["name"], names[i]);
    EXPECT_TRUE(fs::exists(dir_ / model["model"].get<std::string>() / "config.json")) << model;
    EXPECT_TRUE(model["questions_correct"].is_number()) << model;
    EXPECT_EQ(model["val_bits_per_byte"].is_number(), i != 2) << model;
    EXPECT_GT(model["seconds"].get<double>(), 0);
  }
  EXPECT_LT(result["models"][1]["parameters"], result["models"][0]["parameters"]);
  EXPECT_EQ(result["models"][1]["parameters"], result["models"][3]["parameters"]);
  // One vocabulary, one bill.
  EXPECT_EQ(read_file(dir_ / "out/student/model/tokenizer.json"),
            read_file(dir_ / "out/model/tokenizer.json"));
  EXPECT_EQ(read_file(dir_ / "out/scratch/model/tokenizer.json"),
            read_file(dir_ / "out/model/tokenizer.json"));
  double seconds = 0;
  for (const char* name : {"out", "out/student", "out/scratch"}) {
    const Json file = parse_json(read_file(dir_ / name / "stages.json"), "stages");
    for (const Json& stage : file["stages"]) seconds += stage["bill"]["seconds"].get<double>();
    EXPECT_TRUE(fs::exists(dir_ / name / "report.html")) << name;
  }
  EXPECT_NEAR(result["seconds"].get<double>(), seconds, 1e-9);
  expect_contains(read_file(dir_ / "out/report.html"), "student, tuned");
  // On about the student's energy: as many steps take more of it, so a budget in steps would not do.
  expect_contains(read_file(dir_ / "out/scratch/recipe.toml"), "joules = ");

  // The same command finds all done; other keys of the student are its own run's.
  const std::string before = read_file(dir_ / "out/student/model/model.safetensors");
  const Finished again = run_program(dir_, {"run", "r.toml"}, "", variables());
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.err.find(" ..."), std::string::npos) << again.err;  // no stage began
  expect_contains(again.out, "student, tuned");
  expect_contains(again.out, "out/student/tune/model");
  EXPECT_EQ(read_file(dir_ / "out/student/model/model.safetensors"), before);
  expect_contains(error(2, {"--set", "student.model.hidden_size=24"}), "model.hidden_size");
  // The teacher alone is what `train` makes, and a student has nothing to do with it.
  const Finished train =
      run_program(dir_, {"train", "r.toml", "--quiet", "--set", "output=alone"}, "", variables());
  EXPECT_EQ(train.code, 0) << train.err;
  EXPECT_FALSE(fs::exists(dir_ / "alone/student"));
}

TEST_F(RunVerb, TrainEndsWithTheModel) {
  const Finished done = run_program(dir_, {"train", "r.toml", "--json"}, "", variables());
  EXPECT_EQ(done.code, 0) << done.err;
  expect_contains(done.err, "pretrain");
  EXPECT_EQ(done.err.find("samples"), std::string::npos);
  EXPECT_TRUE(parse_json(done.out, "stdout")["val_bits_per_byte"].is_number());
  // `run` on the same recipe adds what is missing.
  EXPECT_TRUE(json()["questions_correct"].is_number());
}

TEST_F(RunVerb, AnInterruptSavesAndTheSameCommandGoesOn) {
  const std::vector<std::string> longer = {"--set", "budget.steps=400", "--set", "train.save_every=0"};
  const pid_t child = start(longer);
  ASSERT_TRUE(wait_for_step(5));
  kill(child, SIGINT);
  const Finished stopped = wait_for_program(child, dir_);
  EXPECT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_EQ(std::ranges::count(stopped.err, '\n'), 1) << stopped.err;
  expect_contains(stopped.err, "frugal run r.toml --set budget.steps=400");
  EXPECT_EQ(stopped.out, "");
  EXPECT_TRUE(fs::exists(dir_ / "out/model/model.safetensors"));
  json(longer);
  json(with(longer, {"--set", "output=whole"}));
  EXPECT_EQ(weights("out"), weights("whole"));
}

TEST_F(RunVerb, KillsAtAnyMomentLoseNoCheckpoint) {
  const std::vector<std::string> often = {"--set", "budget.steps=300", "--set", "train.save_every=3"};
  int killed = 0;
  for (int i = 0; i < 8; ++i) {
    const pid_t child = start(often);
    std::this_thread::sleep_for(std::chrono::milliseconds(60 + 130 * i));
    killed += kill(child, SIGKILL) == 0;
    wait_for_program(child, dir_);
    if (!fs::exists(dir_ / "out/model")) continue;
    const Finished info = run_program(dir_, {"info", "out", "--json"}, "", variables());
    EXPECT_EQ(info.code, 0) << info.err;
  }
  EXPECT_GT(killed, 0);
  json(often);
  json(with(often, {"--set", "output=whole"}));
  EXPECT_EQ(weights("out"), weights("whole"));
}

TEST_F(RunVerb, OneProcessAtATime) {
  const pid_t child = start({"--set", "budget.steps=100000"});
  ASSERT_TRUE(wait_for_step(2));
  fs::create_directory(dir_ / "second");
  const Finished second = run_program(dir_ / "second", {"run", "r.toml", "--quiet"}, "", variables());
  EXPECT_EQ(second.code, 1);
  expect_contains(second.err, "in use");
  kill(child, SIGTERM);
  EXPECT_EQ(wait_for_program(child, dir_).code, 130);
}

TEST_F(RunVerb, SeedsAreComparedAndShareTheirData) {
  const Json result = json({"--set", "seed=[1, 2]"});
  ASSERT_EQ(result["seeds"].size(), 2u);
  const double a = result["seeds"][0]["val_bits_per_byte"], b = result["seeds"][1]["val_bits_per_byte"];
  EXPECT_NE(a, b);
  EXPECT_NEAR(result["val_bits_per_byte"].get<double>(), (a + b) / 2, 1e-12);
  EXPECT_NEAR(result["spread"]["val_bits_per_byte"]["sd"].get<double>(), std::abs(a - b) / std::sqrt(2.0),
              1e-9);
  EXPECT_EQ(result["tokens"], 2 * 40 * 4 * 64);
  expect_contains(read_file(dir_ / "out/report.html"), "±");
  EXPECT_TRUE(fs::exists(dir_ / "out/seed-2/report.html"));
  EXPECT_FALSE(fs::exists(dir_ / "out/seed-2/corpus"));
}

TEST_F(RunVerb, OwnTextAndAGivenModelToStartFrom) {
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += fmt::format("{{\"text\": \"Boat {} left the harbour at {} o'clock.\"}}\n", i, i % 12);
  file("my text.jsonl", text);
  const std::vector<std::string> own = {"--set", "data.train=my text.jsonl", "--set",
                                        "tokenizer.vocab_size=290"};
  EXPECT_TRUE(json(own)["questions_correct"].is_null());
  const Json further = json(with(own, {"--set", "init=out", "--set", "output=further"}));
  EXPECT_LT(further["val_bits_per_byte"].get<double>(), 8);
  EXPECT_EQ(read_file(dir_ / "out/model/tokenizer.json"), read_file(dir_ / "further/model/tokenizer.json"));
  // Another tokenizer than the model's own is refused; the same one may be named.
  json(with(own, {"--set", "init=out", "--set", "output=fourth", "--set", "tokenizer.path=further/model"}));
  json({"--set", "output=synthetic"});
  expect_contains(error(2, with(own, {"--set", "init=out", "--set", "output=fifth", "--set",
                                      "tokenizer.path=synthetic/model"})),
                  "tokenizer of its own");
  const Finished other = run_program(
      dir_,
      with({"train", "r.toml", "--set", "init=out", "--set", "output=third", "--set", "model.hidden_size=64"},
           own),
      "", variables());
  EXPECT_EQ(other.code, 0);
  expect_contains(other.err, "model.hidden_size = 64 is not used: 32 of out counts");
}

TEST_F(RunVerb, NothingIsOverwrittenByAnotherRecipe) {
  json();
  const std::string recipe = read_file(dir_ / "out/recipe.toml"), model = weights("out");
  expect_contains(error(2, {"--set", "train.batch=8"}), "train.batch = 4 there, 8 here");
  expect_contains(error(2, {"--set", "budget.steps=50"}), "budget.steps = 40 there, 50 here");
  EXPECT_EQ(read_file(dir_ / "out/recipe.toml"), recipe);
  EXPECT_EQ(weights("out"), model);
  json({"--set", "samples.tokens=4", "--threads", "1"});  // what does not change the model may change
  EXPECT_EQ(weights("out"), model);
}

TEST_F(RunVerb, ChangedTextIsNoticed) {
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += fmt::format("{{\"text\": \"Line {} of the log says {}.\"}}\n", i, i * 7);
  file("t.jsonl", text);
  const std::vector<std::string> own = {"--set", "data.train=t.jsonl", "--set", "tokenizer.vocab_size=285"};
  json(own);
  file("t.jsonl", text + "{\"text\": \"One more.\"}\n");
  expect_contains(error(1, own), "has changed since");
}

TEST_F(RunVerb, BadText) {
  file("empty.txt", "");
  file("blank.txt", " \n \n");
  file("binary.txt", std::string("a\0b\n", 4));
  file("latin.txt", "good line\nna\xefve\n");
  file("key.jsonl", "{\"text\": \"a b c\"}\n{\"txt\": \"d\"}\n");
  file("broken.jsonl", "{\"text\": \"a b c\"}\n{\"text\": \n");
  file("short.txt", "The cat sat on the mat. The cat sat on the hat.");
  file("short2.txt", "The rat sat.");
  file("picture.png", "x");
  struct Case {
    const char* path;
    std::vector<std::string> says;
  };
  for (const auto& [path, says] : std::vector<Case>{{"missing.txt", {"data.train", "missing.txt"}},
                                                    {"empty.txt", {"empty.txt", "empty"}},
                                                    {"blank.txt", {"is empty"}},
                                                    {"binary.txt", {"binary.txt:1", "NUL"}},
                                                    {"latin.txt", {"latin.txt:2", "UTF-8"}},
                                                    {"key.jsonl", {"key.jsonl:2", "text"}},
                                                    {"broken.jsonl", {"broken.jsonl:2"}},
                                                    {"picture.png", {"picture.png"}},
                                                    {"short.txt", {"vocabulary"}}}) {
    const std::string message = error(1, {"--set", std::string("data.train=") + path});
    for (const std::string& part : says) expect_contains(message, part);
  }
  expect_contains(error(1, {"--set", "data.train=short.txt", "--set", "tokenizer.vocab_size=274", "--set",
                            "data.valid=short2.txt", "--set", "tokenizer.vocab_size=274"}),
                  "fewer than one batch");
}

TEST_F(RunVerb, BadRecipesAndCommands) {
  expect_contains(error(2, {"--set", "train.bacth=3"}), "train.batch");
  expect_contains(error(2, {"--set", "model.hidden_size=0"}), "hidden_size");
  expect_contains(error(2, {"--set", "model.num_experts_per_tok=9"}), "num_experts_per_tok");
  expect_contains(error(2, {"--set", "threads=-1"}), "threads");
  expect_contains(error(2, {"--threads", "0"}), "--threads 0");
  expect_contains(error(2, {"--threads", "99999"}), "--threads 99999");
  expect_contains(error(2, {"--set", "train.context=100000"}), "train.context");
  expect_contains(error(1, {"--set", "init=nowhere"}), "nowhere");
  expect_contains(error(1, {"--set", "tokenizer.path=nowhere"}), "nowhere");
  expect_contains(
      error(1, {"--set", "model.hidden_size=200000", "--set", "model.moe_intermediate_size=200000"}), "GB");
  expect_contains(error(2, {"--set", "model.num_hidden_layers=100000000"}), "at most 4096");
  file("tok.json", "{");
  expect_contains(error(1, {"--set", "tokenizer.path=tok.json"}), "tok.json");
  file("bad.toml", "[train\n");
  EXPECT_EQ(run_program(dir_, {"run", "bad.toml"}, "", variables()).code, 2);
  EXPECT_EQ(run_program(dir_, {"run", "missing.toml"}, "", variables()).code, 1);
  EXPECT_EQ(run_program(dir_, {"run"}, "", variables()).code, 2);
}

TEST_F(RunVerb, BadOutputs) {
  file("taken", "x");
  fs::create_directory(dir_ / "mine");
  file("mine/thesis.txt", "x");
  expect_contains(error(1, {"--set", "output=taken"}), "is a file");
  expect_contains(error(1, {"--set", "output=mine"}), "other things");
  expect_contains(error(1, {"--set", "output=/proc/frugal"}), "/proc/frugal");
  EXPECT_EQ(read_file(dir_ / "mine/thesis.txt"), "x");
}

TEST_F(RunVerb, DamagedCheckpointsAndTokenizers) {
  const std::vector<std::string> longer = {"--set", "budget.steps=100000"};
  const pid_t child = start(longer);
  ASSERT_TRUE(wait_for_step(25));
  kill(child, SIGINT);
  wait_for_program(child, dir_);
  const fs::path model = fs::canonical(dir_ / "out/model/model.safetensors");
  const std::string whole = read_file(model);
  fs::resize_file(model, whole.size() / 2);
  expect_contains(error(1, longer), "model.safetensors");
  std::string altered = whole;
  altered[altered.size() - 3] ^= 1;
  std::ofstream(model, std::ios::binary) << altered;
  expect_contains(error(1, longer), "altered");
  std::ofstream(model, std::ios::binary) << whole;
  const std::string tokenizer = read_file(dir_ / "out/tokenizer/tokenizer.json");
  fs::resize_file(dir_ / "out/tokenizer/tokenizer.json", 400);
  expect_contains(error(1, longer), "tokenizer.json");
  std::ofstream(dir_ / "out/tokenizer/tokenizer.json", std::ios::binary) << tokenizer;
  // All is well again: the budget may be changed to end now, which is less than was used.
  expect_contains(error(1, {"--set", "budget.steps=3"}), "already spent");
}

// A file system of some hundred kilobytes; only root may make one.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& place, const char* size) : place_(place) {
    fs::create_directory(place);
    mounted_ = mount("tmpfs", place.c_str(), "tmpfs", 0, size) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(place_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool make_read_only() const {
    return mount(nullptr, place_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  fs::path place_;
  bool mounted_ = false;
};

TEST_F(RunVerb, AFullDiskIsAClearErrorAndLosesNoCheckpoint) {
  const SmallDisk disk(dir_ / "disk", "size=600k");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small file system here";
  expect_contains(error(1, {"--set", "output=disk/out", "--set", "data.synthetic.practice=0"}),
                  "No space left on device");
  const Finished info = run_program(dir_, {"info", "disk/out"}, "", variables());
  EXPECT_EQ(info.code, 0) << info.err;
}

TEST_F(RunVerb, AReadOnlyDiskIsAClearError) {
  const SmallDisk disk(dir_ / "disk", "size=600k");
  if (!disk.mounted() || !disk.make_read_only()) GTEST_SKIP() << "cannot mount a read-only file system here";
  expect_contains(error(1, {"--set", "output=disk/out"}), "Read-only file system");
}

}  // namespace
}  // namespace frugal
