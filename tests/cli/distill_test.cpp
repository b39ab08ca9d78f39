// frugal distill as users meet it: the cache alone, a student from it and beside its teacher, several runs on
// one cache, mistakes.
#include <fstream>

#include "cli/command_line.h"

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
  Json stages(const std::string& output) const {
    return parse_json(read_file(dir_ / output / "stages.json"), "stages.json");
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
  json(quietly({"distill", recipe("one", shared)}));
  json(quietly({"distill", recipe("two", shared)}));
  EXPECT_FALSE(fs::exists(dir_ / "two/teacher"));
  const std::string text = read_file(dir_ / "two/stages.json");
  expect_contains(text, "\"made_before\"");
  expect_contains(text, "\"runs\"");
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
}

TEST_F(DistillVerb, Mistakes) {
  const auto message = [&](int code, const std::string& set) {
    return error(code, quietly({"distill", recipe("out", ""), "--set", set}));
  };
  expect_contains(message(2, "distill.teacher="), "distill.teacher");
  expect_contains(message(2, "distill.how=telepathy"), "cache or online");
  expect_contains(message(2, "distill.kind=all"), "sampled or top_k");
  expect_contains(message(2, "distill.divergence=kl"), "forward_kl");
  expect_contains(message(2, "distill.draws=0"), "distill.draws");
  expect_contains(message(2, "distill.tokens=0"), "distill.tokens");
  expect_contains(message(2, "tokenizer.path=somewhere"), "teacher's tokenizer");
  expect_contains(message(1, "distill.teacher=nowhere"), "nowhere");
  expect_contains(error(2, {"distill"}), "RECIPE");
}

}  // namespace
}  // namespace frugal
