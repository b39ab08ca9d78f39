// frugal prune as users meet it: a smaller directory that every verb opens, its report, mistakes; and that a
// student which starts as a part of its teacher beats one that starts from nothing.
#include "cli/command_line.h"

namespace frugal {
namespace {

class PruneVerb : public CommandLine {
 protected:
  std::string out(const std::string& name) const { return (dir_ / name).string(); }
  std::string text(int lines = 40) const {
    std::string all;
    for (int i = 0; i < lines; ++i) {
      all += fmt::format("{{\"text\": \"Once upon a time there were {} small boats on the sea near {}.\"}}\n",
                         i, 7 * i % 23);
    }
    return file("text.jsonl", all);
  }
  std::vector<std::string> prune(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"prune", model(), "--text", text(), "--quiet", "--threads", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(PruneVerb, MakesAModelThatEveryVerbOpens) {
  const std::string small = out("small");
  const Json result = json(prune({"--layers", "1", "--heads", "2", "--moe-intermediate-size", "40",
                                  "--hidden-size", "96", "-o", small}));
  EXPECT_EQ(result["out"], small);
  EXPECT_LT(result["parameters"]["after"], result["parameters"]["before"]);
  EXPECT_GT(result["ppl"]["after"].get<double>(), 1);
  EXPECT_EQ(result["layer_importance"].size(), 2u);
  for (const char* what : {"heads", "neurons", "channels"}) {
    EXPECT_GT(result["kept_share"][what].get<double>(), 0) << what;
    EXPECT_LT(result["kept_share"][what].get<double>(), 1) << what;
  }
  const Json config = read_json_file(fs::path(small) / "config.json");
  EXPECT_EQ(config["num_hidden_layers"], 1);
  EXPECT_EQ(config["num_attention_heads"], 2);
  EXPECT_EQ(config["hidden_size"], 96);
  const Json kept = read_json_file(fs::path(small) / "prune.json");
  EXPECT_EQ(kept["kept"]["channels"].size(), 96u);
  EXPECT_EQ(kept["kept"]["layers"].size(), 1u);
  EXPECT_EQ(json({"info", small})["parameters"], result["parameters"]["after"]);
  EXPECT_EQ(json({"perplexity", small, text(), "--context", "256"})["ppl"], result["ppl"]["after"]);
  EXPECT_EQ(json({"generate", small, "-p", "Once", "-n", "4", "--temp", "0"})["ids"].size(), 4u);
  const Finished shown = run(prune({"--layers", "1", "--depth-by", "perplexity", "-o", out("again")}));
  EXPECT_EQ(shown.code, 0) << shown.err;
  expect_contains(shown.out, "num_hidden_layers");
  expect_contains(shown.out, "--set init=" + out("again"));
}

TEST_F(PruneVerb, Mistakes) {
  const auto refused = [&](const std::vector<std::string>& more) { return error(2, prune(more)); };
  expect_contains(refused({"-o", out("x")}), "say what to keep");
  expect_contains(refused({"--layers", "9", "-o", out("x")}), "--layers 9: the model has 2");
  expect_contains(refused({"--kv-heads", "1", "-o", out("x")}), "latents");
  expect_contains(refused({"--experts", "1", "-o", out("x")}), "num_experts_per_tok");
  expect_contains(refused({"--layers", "1", "-o", out("x.gguf")}), "expected a directory");
  expect_contains(refused({"--layers", "1", "-o", model()}), "over itself");
  expect_contains(refused({"--layers", "1", "--depth-by", "luck", "-o", out("x")}),
                  "influence or perplexity");
  expect_contains(refused({"--layers", "1", "--format", "q8_0", "-o", out("x")}), "f32 or bf16");
  expect_contains(error(2, {"prune", model(), "--layers", "1", "-o", out("x")}), "--text");
  expect_contains(error(1, {"prune", model(), "--text", out("none.txt"), "--layers", "1", "-o", out("x")}),
                  "none.txt");
  EXPECT_FALSE(fs::exists(out("x")));
}

// Teacher, pruned to less than half, healed by its distillation; beside it the same shape from random weights
// with the same loss and as many steps.
TEST_F(PruneVerb, HealedItBeatsTheSameShapeFromScratch) {
  const auto recipe = [&](const std::string& name, const std::string& more, int steps) {
    return file(
        name + ".toml",
        fmt::format("output = \"{}\"\n[data.synthetic]\ntrain_bytes = 60000\nvalid_bytes = 4000\n"
                    "questions = 0\nchats = false\n[tokenizer]\nvocab_size = 320\n[budget]\nsteps = {}\n"
                    "[eval]\nevaluations = 0\n[samples]\ncount = 0\ntokens = 1\n"
                    "[train]\nbatch = 4\ncontext = 64\noptimizer = {{ name = \"adamw\", lr = 1e-2 }}\n{}",
                    out(name), steps, more));
  };
  const auto shape = [](int layers, int heads, int experts, int inner) {
    return fmt::format(
        "[model]\npreset = \"nano\"\nhidden_size = 48\nintermediate_size = 96\n"
        "moe_intermediate_size = {}\nnum_hidden_layers = {}\nnum_attention_heads = {}\n"
        "n_routed_experts = {}\nkv_lora_rank = 16\nqk_rope_head_dim = 8\n"
        "qk_nope_head_dim = 16\nv_head_dim = 16\n",
        inner, layers, heads, experts);
  };
  const auto quietly = [](std::vector<std::string> arguments) {
    for (const char* word : {"--quiet", "--threads", "2"}) arguments.emplace_back(word);
    return arguments;
  };
  const double teacher =
      json(quietly({"train", recipe("teacher", shape(3, 4, 8, 32), 150)}))["val_bits_per_byte"];
  const Json cut =
      json(quietly({"prune", out("teacher"), "--text", out("teacher/corpus/valid.jsonl"), "--layers", "2",
                    "--heads", "2", "--experts", "4", "--moe-intermediate-size", "16", "-o", out("pruned")}));
  EXPECT_LT(cut["parameters"]["after"].get<double>(), 0.6 * cut["parameters"]["before"].get<double>());
  const std::string distil =
      fmt::format("[distill]\nteacher = \"{}\"\ntokens = 4000\ndraws = 20\ncache = \"{}\"\n", out("teacher"),
                  out("cache"));
  const double healed = json(quietly(
      {"distill", recipe("healed", distil, 40), "--set", "init=" + out("pruned")}))["val_bits_per_byte"];
  const double scratch =
      json(quietly({"distill", recipe("scratch", distil + shape(2, 2, 4, 16), 40)}))["val_bits_per_byte"];
  EXPECT_EQ(json({"info", out("healed")})["parameters"], json({"info", out("scratch")})["parameters"]);
  EXPECT_LT(healed, 0.95 * scratch) << "teacher " << teacher;
  EXPECT_LT(teacher, scratch);
}

}  // namespace
}  // namespace frugal
