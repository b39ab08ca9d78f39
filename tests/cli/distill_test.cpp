// frugal distill as users meet it: the cache alone, a student from it and beside its teacher, several runs on
// one cache, mistakes.
#include <fstream>
#include <sstream>

#include "cli/command_line.h"
#include "pipeline/run_directory.h"

namespace frugal {
namespace {

class DistillVerb : public CommandLine {
 protected:
  std::string recipe(const std::string& output, const std::string& distill,
                     const std::string& more = "") const {
    std::string lines;
    for (int i = 0; i < 60; ++i) {
      lines += fmt::format(
          "{{\"text\": \"Once upon a time there were {} small boats on the sea near {}.\"}}\n", i, 7 * i);
    }
    return file(
        output + ".toml",
        fmt::format(
            "output = \"{}\"\n[data]\ntrain = [\"{}\"]\n{}\n[model]\npreset = \"nano\"\nhidden_size = 32\n"
            "num_hidden_layers = 2\n[budget]\nsteps = 6\n[train]\nbatch = 2\ncontext = 32\nsave_minutes = 0\n"
            "[distill]\nteacher = \"{}\"\ntokens = 500\n{}",
            (dir_ / output).string(), file("text.jsonl", lines), more, model(), distill));
  }
  static std::vector<std::string> quietly(std::vector<std::string> arguments) {
    for (const char* word : {"--quiet", "--threads", "2"}) arguments.emplace_back(word);
    return arguments;
  }
  Json result_of(const std::string& output, std::string_view stage) const {
    for (const StageRecord& record : read_stages(dir_ / output)) {
      if (record.name == stage) return record.result;
    }
    return Json::object();
  }
};

TEST_F(DistillVerb, TheCacheAloneThenAStudentFromIt) {
  const std::string file_of_recipe = recipe("out", "");
  const Finished cache = run(quietly({"distill", "cache", file_of_recipe}));
  ASSERT_EQ(cache.code, 0) << cache.err;
  expect_contains(cache.out, "frugal distill");
  EXPECT_TRUE(fs::exists(dir_ / "out/teacher/cache.json"));
  EXPECT_FALSE(fs::exists(dir_ / "out/model"));
  const Json result = json(quietly({"distill", file_of_recipe}));
  EXPECT_EQ(result["tokens"], 6 * 2 * 32);
  EXPECT_TRUE(fs::exists(dir_ / "out/model/model.safetensors"));
  // The student has the teacher's vocabulary and tokenizer.
  EXPECT_EQ(read_json_file(dir_ / "out/model/config.json")["vocab_size"], 304);
  EXPECT_EQ(read_file(dir_ / "out/model/tokenizer.json"),
            read_file(fs::path(model()) / "model/tokenizer.json"));
}

TEST_F(DistillVerb, RunsThatShareACacheShareItsCost) {
  const std::string shared = fmt::format("cache = \"{}\"\n", (dir_ / "shared").string());
  const Json one = json(quietly({"distill", recipe("one", shared)}));
  const Json two = json(quietly({"distill", recipe("two", shared), "--set", "budget.steps=18"}));
  EXPECT_FALSE(fs::exists(dir_ / "two/teacher"));
  EXPECT_TRUE(result_of("two", "teacher")["made_before"]);
  const Json share = result_of("two", "pretrain")["teacher_share"];
  EXPECT_EQ(share["runs"], 2);
  EXPECT_DOUBLE_EQ(share["fraction"], 0.75);
  EXPECT_GT(two["charged"]["dollars"], two["dollars"]);
  const Json runs = json(quietly({"ledger", "list"}))["runs"];
  const Json total = json(quietly({"ledger", "total"}))["totals"][0];
  ASSERT_EQ(runs.size(), 2u);
  double dollars = 0;
  for (const Json& run : runs) dollars += run["dollars"].get<double>();
  EXPECT_NEAR(dollars, total["dollars"], 1e-9 * dollars);
  double cache = 0;
  for (const Json& stage : runs[0]["stages"]) {
    if (stage["name"] == "teacher") cache = stage["dollars"];
  }
  EXPECT_GT(cache, 0);
  // Alone, the first was charged what it had spent, but for what passes between stages; then the second takes
  // three quarters of the cache over.
  EXPECT_NEAR(one["charged"]["dollars"], one["dollars"], 0.5 * cache);
  EXPECT_NEAR(runs[0]["share"]["dollars"], -0.75 * cache, 1e-6 * cache);
  EXPECT_NEAR(runs[1]["share"]["dollars"], 0.75 * cache, 1e-6 * cache);
  expect_contains(run(quietly({"ledger", "list"})).out, "charged to the runs that learned from it");
  // Of other data it is refused, and what differs is named.
  const std::string other =
      error(1, quietly({"distill", recipe("three", shared, "deduplicate = false\nvalid_fraction = 0.3")}));
  expect_contains(other, "another data");
}

TEST_F(DistillVerb, BesideItsTeacher) {
  const Json result =
      json(quietly({"distill", recipe("out", "how = \"online\"\ndivergence = \"jensen_shannon\"\n")}));
  EXPECT_EQ(result["tokens"], 6 * 2 * 32);
  EXPECT_FALSE(fs::exists(dir_ / "out/teacher"));
  EXPECT_FALSE(result.contains("charged"));
  // The bill has the teacher's way forward, too.
  const Json trained = result_of("out", "pretrain");
  EXPECT_GT(trained["teacher_flops_per_token"], 0);
  json(quietly({"distill", recipe("cached", "")}));
  EXPECT_NEAR(trained["flops_per_token"],
              result_of("cached", "pretrain")["flops_per_token"].get<double>() +
                  trained["teacher_flops_per_token"].get<double>(),
              1);
}

TEST_F(DistillVerb, OnItsOwnText) {
  const std::string how = "how = \"online\"\nlambda = 0.5\ndivergence = \"reverse_kl\"\nprompt_tokens = 6\n";
  json(quietly({"distill", recipe("out", how)}));
  std::istringstream lines(read_file(dir_ / "out/log.jsonl"));
  double written = 0;
  int64_t steps = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json event = parse_json(line, "log.jsonl");
    if (event["event"] != "step") continue;
    ++steps;
    written += event["figures"]["rows that the student wrote"].get<double>();
  }
  EXPECT_EQ(steps, 6);
  EXPECT_EQ(written, 6);  // half of two rows a step
  // Answers to prompts, with no row of the data left.
  const std::string prompts = file("prompts.jsonl", "{\"prompt\": \"Once upon\"}\n{\"prompt\": \"small boats on\"}\n");
  json(quietly({"distill", recipe("answers", how), "--set", "distill.prompts=[\"" + prompts + "\"]", "--set",
                "distill.lambda=1", "--set", "distill.max_new_tokens=5"}));
  EXPECT_EQ(result_of("answers", "pretrain")["steps"], 6);
  const std::string message =
      error(1, quietly({"distill", recipe("none", how), "--set", "distill.prompts=[\"" + prompts + "\"]",
                        "--set", "train.context=2", "--set", "distill.prompt_tokens=1"}));
  expect_contains(message, "none of the 2 prompts leaves room");
}

// The teacher has 304 ids and its own tokenizer, the student one that is trained on the data.
TEST_F(DistillVerb, AcrossTokenizers) {
  for (const std::string loss : {"uld", "alm"}) {
    const std::string distill =
        "how = \"online\"\ndivergence = \"" + loss + "\"\nlambda = 0.5\nprompt_tokens = 6\n";
    json(quietly({"distill", recipe(loss, distill), "--set", "tokenizer.vocab_size=280"}));
    EXPECT_EQ(read_json_file(dir_ / loss / "model/config.json")["vocab_size"], 280);
    const Json trained = result_of(loss, "pretrain");
    EXPECT_GT(trained["teacher_coverage"], 0.3);
    EXPECT_LE(trained["teacher_coverage"], 1);
    EXPECT_GT(trained["teacher_flops_per_token"], 0);
  }
}

TEST_F(DistillVerb, Mistakes) {
  const auto message = [&](int code, const std::string& set) {
    return error(code, quietly({"distill", recipe("out", ""), "--set", set}));
  };
  expect_contains(message(2, "distill.teacher="), "distill.teacher");
  expect_contains(message(2, "distill.how=telepathy"), "cache or online");
  expect_contains(message(2, "distill.kind=all"), "sampled or top_k");
  expect_contains(message(2, "distill.divergence=kl"), "forward_kl");
  expect_contains(message(2, "distill.divergence=uld"), "distill.how = \"online\"");
  expect_contains(message(2, "distill.lambda=0.5"), "distill.how = \"online\"");
  expect_contains(message(2, "distill.beta=1"), "distill.beta");
  expect_contains(error(2, quietly({"distill", recipe("out", "how = \"online\"\nlambda = 1.5\n")})),
                  "distill.lambda");
  expect_contains(error(2, quietly({"distill", recipe("out", "how = \"online\"\nlambda = 1\n")})),
                  "less than train.context");
  expect_contains(message(2, "distill.draws=0"), "distill.draws");
  expect_contains(message(2, "distill.tokens=0"), "distill.tokens");
  expect_contains(message(2, "tokenizer.path=somewhere"), "teacher's tokenizer");
  expect_contains(message(1, "distill.teacher=nowhere"), "nowhere");
  expect_contains(error(2, {"distill"}), "RECIPE");
}

}  // namespace
}  // namespace frugal
