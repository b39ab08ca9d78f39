// frugal pull, from a hub on loopback, and every verb on the names it fetched.
#include "cli/command_line.h"
#include "mock_server.h"

namespace frugal {
namespace {

class PullVerb : public CommandLine {
 protected:
  std::unique_ptr<MockServer> hub_;

  void SetUp() override {
    CommandLine::SetUp();
    hub_ = std::make_unique<MockServer>(dir_ / "hub");
    for (const auto& file : fs::directory_iterator(fs::path(model()) / "model"))
      hub_->add("owner/tiny/" + file.path().filename().string(), read_file(file.path()));
  }
  void TearDown() override { hub_.reset(); }
  std::vector<std::string> variables() const {
    return {"HF_ENDPOINT=" + hub_->url() + "/", "FRUGAL_MODELS=" + (dir_ / "models").string(),
            "HF_TOKEN=hf_secret"};
  }
  Finished run_hub(const std::vector<std::string>& arguments, const std::string& input = "") const {
    return run(arguments, input, variables());
  }
  std::string hub_error(int code, const std::vector<std::string>& arguments) const {
    return error(code, arguments, "", variables());
  }
};

TEST_F(PullVerb, NamesAreModelsEverywhere) {
  const Finished pulled = run_hub({"pull", "hf:owner/tiny"});
  EXPECT_EQ(pulled.code, 0) << pulled.err;
  EXPECT_EQ(pulled.out, "tiny\n");
  expect_contains(pulled.err, "all checked");
  EXPECT_EQ(pulled.err.find("hf_secret"), std::string::npos);
  const auto same = [&](std::vector<std::string> arguments) {
    std::vector<std::string> own = arguments;
    for (std::string& a : own) a = a == "tiny" ? model() : a;
    const Finished by_name = run_hub(arguments, "hello\n"), by_path = run_hub(own, "hello\n");
    EXPECT_EQ(by_name.code, 0) << by_name.err;
    EXPECT_EQ(by_name.out, by_path.out) << arguments[0];
  };
  const std::string text = file("text.txt", "Once upon a time.\n"), ids = file("ids.json", "[1, 2, 3]");
  same({"generate", "tiny", "-p", "Once upon", "-n", "8", "--temp", "0", "--quiet"});
  same({"chat", "tiny", "-n", "4", "--temp", "0", "--quiet"});
  same({"perplexity", "tiny", text, "--context", "64"});
  same({"tokenizer", "encode", "tiny", "--text", "Once upon a time"});
  same({"logits", "tiny", "--ids", ids, "--out", (dir_ / "l.npy").string()});
  EXPECT_EQ(run_hub({"info", "owner/tiny"}).code, 0);
  EXPECT_EQ(run_hub({"bench", "tiny", "-p", "8", "-n", "2", "--repeat", "1"}).code, 0);
  EXPECT_EQ(run_hub({"convert", "tiny", (dir_ / "a.gguf").string()}).code, 0);
}

TEST_F(PullVerb, OneJsonObject) {
  const Finished done = run_hub({"pull", "hf:owner/tiny", "--json"});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(std::ranges::count(done.out, '\n'), 1);
  const Json json = parse_json(done.out, "stdout");
  EXPECT_EQ(json["names"], Json::array({"tiny"}));
  EXPECT_EQ(json["directory"], (dir_ / "models/owner/tiny").string());
  EXPECT_EQ(json["bytes"], json["received_bytes"]);
  EXPECT_EQ(parse_json(run_hub({"pull", "hf:owner/tiny", "--json"}).out, "stdout")["received_bytes"], 0);
}

TEST_F(PullVerb, GgufFilesByTheirNames) {
  ASSERT_EQ(run({"convert", model(), (dir_ / "small-q8.gguf").string(), "--format", "q8_0"}).code, 0);
  hub_->add("files/small-q8.gguf", read_file(dir_ / "small-q8.gguf"));
  fs::remove(dir_ / "small-q8.gguf");
  EXPECT_EQ(run_hub({"pull", hub_->url("/files/small-q8.gguf"), "--quiet"}).out, "small-q8\n");
  for (const char* name : {"small-q8", "small-q8.gguf"}) EXPECT_EQ(run_hub({"info", name}).code, 0);
  EXPECT_EQ(run_hub({"tokenizer", "encode", "small-q8", "--text", "x"}).code, 0);
}

TEST_F(PullVerb, RecipesStartFromANameToo) {
  ASSERT_EQ(run_hub({"pull", "hf:owner/tiny"}).code, 0);
  file("r.toml", R"(output = "tuned"
init = "tiny"
[data.synthetic]
train_bytes = 20000
valid_bytes = 2000
questions = 2
[budget]
steps = 2
[train]
batch = 2
context = 32
[samples]
count = 1
tokens = 4
)");
  const Finished done =
      run_hub({"run", (dir_ / "r.toml").string(), "--set", "output=" + (dir_ / "tuned").string(), "--quiet"});
  EXPECT_EQ(done.code, 0) << done.err;
}

TEST_F(PullVerb, MistakesAreSaid) {
  expect_contains(hub_error(2, {"pull", "owner/tiny"}), "expected hf:OWNER/NAME");
  expect_contains(hub_error(1, {"pull", "hf:owner/none", "--attempts", "1"}), "not found");
  expect_contains(hub_error(1, {"pull", "hf:owner/tiny:*.gguf"}), "no file matches");
  expect_contains(hub_error(1, {"pull", "hf:owner/tiny", "--file", "*.gguf"}), "no file matches");
  expect_contains(hub_error(2, {"pull", "hf:owner/tiny:a", "--file", "b"}), "--file");
  expect_contains(hub_error(2, {"pull", "hf:owner/tiny", "--sha256", "00"}), "--sha256");
  expect_contains(hub_error(2, {"pull", "hf:owner/tiny", "--attempts", "0"}), "--attempts");
  hub_->faults({{"api", {{"status", 401}}}});
  const std::string refused = hub_error(1, {"pull", "hf:owner/tiny"});
  expect_contains(refused, "not accepted");
  EXPECT_EQ(refused.find("hf_secret"), std::string::npos);
  hub_->faults(Json::object());
  ASSERT_EQ(run_hub({"pull", "hf:owner/tiny"}).code, 0);
  expect_contains(hub_error(1, {"info", "tyni"}), "did you mean 'tiny'");
  expect_contains(hub_error(1, {"generate", "nothing", "-p", "x"}), "no such model");
}

TEST_F(PullVerb, TrustsTheCertificatesOfTheEnvironment) {
  hub_ = std::make_unique<MockServer>(dir_ / "hub", MockServer::Scheme::https);
  std::vector<std::string> all = {"HF_ENDPOINT=" + hub_->url("", "localhost"),
                                  "FRUGAL_MODELS=" + (dir_ / "models").string()};
  expect_contains(error(1, {"pull", "hf:owner/tiny"}, "", all), "certificate");
  all.push_back("SSL_CERT_FILE=" + std::string(FRUGAL_SOURCE_DIR) + "/tests/golden/tls/ca.pem");
  const Finished pulled = run({"pull", "hf:owner/tiny"}, "", all);
  EXPECT_EQ(pulled.code, 0) << pulled.err;
  expect_contains(pulled.err, "all checked");
  EXPECT_EQ(run({"generate", "tiny", "-p", "Once", "-n", "2"}, "", all).code, 0);
}

TEST_F(PullVerb, StoppingKeepsWhatCameIn) {
  hub_->add("files/large.gguf", std::string(40 << 20, 'x'));
  hub_->faults({{"large.gguf", {{"stall", true}}}});
  const pid_t child = start_program(dir_, {"pull", hub_->url("/files/large.gguf")}, "", [&] {
    std::vector<std::string> all = variables();
    all.push_back("HOME=" + dir_.string());
    return all;
  }());
  const fs::path folder = dir_ / "models";
  const auto begun = [&] {
    std::error_code ignored;
    for (fs::recursive_directory_iterator it(folder, ignored), end; !ignored && it != end;
         it.increment(ignored)) {
      if (it->path().extension() == ".part" && it->file_size(ignored) > 0) return true;
    }
    return false;
  };
  for (int i = 0; i < 500 && !begun(); ++i) ::usleep(10'000);
  ::kill(child, SIGINT);
  const Finished done = wait_for_program(child, dir_);
  EXPECT_EQ(done.code, 130) << done.err;
  expect_contains(done.err, "run the same command to go on");
}

}  // namespace
}  // namespace frugal
