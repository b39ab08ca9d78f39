// frugal distill ask as users meet it: from questions to a tuned model, the key that shows up nowhere,
// stopping.
#include <signal.h>

#include "cli/command_line.h"
#include "mock_server.h"
#include "pipeline/run_directory.h"
#include "text/tokenizer.h"

namespace frugal {
namespace {

constexpr const char* kKey = "sk-secret-0123456789";

class AskVerb : public CommandLine {
 protected:
  std::unique_ptr<MockServer> server_;

  void SetUp() override {
    CommandLine::SetUp();
    server_ = std::make_unique<MockServer>(dir_ / "server");
    std::string questions;
    for (int i = 0; i < 6; ++i) questions += fmt::format("{{\"prompt\": \"How many boats, {}?\"}}\n", i);
    file("questions.jsonl", questions);
    file("ask.toml",
         fmt::format("output = \"{}\"\nendpoint = \"{}\"\nmodel = \"mock\"\nlicence = \"for tests\"\n"
                     "prompts = [\"{}\"]\napi_key_env = \"TEACHER_KEY\"\nbackoff = 0.001\n"
                     "price_input = 1\nprice_output = 1000\nspend_cap = 5\n"
                     "[parameters]\nmax_tokens = 100\n",
                     (dir_ / "out").string(), server_->url("/v1"), (dir_ / "questions.jsonl").string()));
  }
  void TearDown() override { server_.reset(); }
  std::vector<std::string> variables() const { return {std::string("TEACHER_KEY=") + kKey}; }
  std::vector<std::string> arguments(const std::vector<std::string>& set, bool json = false) const {
    std::vector<std::string> all = {"distill", "ask", (dir_ / "ask.toml").string()};
    for (const std::string& item : set) all.insert(all.end(), {"--set", item});
    if (json) all.emplace_back("--json");
    return all;
  }
  // Every file of this test but the server's own.
  void expect_no_key() const {
    for (const auto& entry : fs::recursive_directory_iterator(dir_)) {
      if (!entry.is_regular_file() || entry.path().parent_path().filename() == "server") continue;
      EXPECT_EQ(read_file(entry.path()).find("secret"), std::string::npos) << entry.path();
    }
  }
};

TEST_F(AskVerb, QuestionsBecomeATunedModelAndABill) {
  const Finished done = run(arguments({}), "", variables());
  ASSERT_EQ(done.code, 0) << done.err;
  expect_contains(done.out, "6 of 6");
  expect_contains(done.out, "$0.0301 for 60 + 30 tokens");
  EXPECT_EQ(server_->requests()[0]["authorization"], std::string("Bearer ") + kKey);

  const Json again = parse_json(run(arguments({}, true), "", variables()).out, "stdout");
  EXPECT_EQ(again["answered"], 0);
  EXPECT_EQ(again["answered_before"], 6);
  EXPECT_NEAR(again["spent_in_all"].get<double>(), 0.03006, 1e-9);

  const Finished ledger = run({"ledger", "export", "--format", "json"});
  ASSERT_EQ(ledger.code, 0) << ledger.err;
  const Json first = parse_json(ledger.out, "ledger")[0];
  EXPECT_EQ(first["verb"], "distill ask");
  bool found = false;
  for (const Json& stage : first["stages"]) {
    if (stage["name"] != "endpoint") continue;
    found = true;
    EXPECT_NEAR(stage["dollars"].get<double>(), 0.03006, 1e-9);
    EXPECT_EQ(stage["tokens"], 90);
  }
  EXPECT_TRUE(found) << ledger.out;
  EXPECT_GT(first["dollars"].get<double>(), 0.03006);  // and this machine's energy

  const std::string data = (dir_ / "out/dataset.jsonl").string();
  file("t.toml", fmt::format("init = \"{}\"\noutput = \"{}\"\n[data]\ntrain = [\"{}\"]\n[budget]\nsteps = 1\n"
                             "[train]\nbatch = 2\ncontext = 96\n",
                             model(), (dir_ / "tuned").string(), data));
  const Finished tuned = run({"tune", (dir_ / "t.toml").string(), "--quiet"});
  EXPECT_EQ(tuned.code, 0) << tuned.err;
  expect_no_key();
}

TEST_F(AskVerb, TheKeyIsInNoMessage) {
  const auto refused = [&](int code, const std::vector<std::string>& set, const Json& faults,
                           const char* says) {
    server_->faults(faults);
    const Finished done = run(arguments(set), "", variables());
    EXPECT_EQ(done.code, code) << done.err;
    expect_contains(done.err, says);
    EXPECT_EQ((done.out + done.err).find("secret"), std::string::npos) << done.err;
    expect_no_key();
  };
  refused(1, {}, {{"*", {{"status", 401}, {"message", "wrong key {key}"}}}}, "wrong key [key]");
  refused(1, {}, {{"*", {{"redirect", server_->url("/v1/chat/completions", "localhost")}}}}, "redirected");
  refused(1, {"attempts=1"}, {{"*", {{"status", 500}, {"message", "{key}"}}}}, "status 500 ([key])");
  refused(1, {"attempts=1"}, {{"*", {{"invalid", 100}}}}, "not an answer");
  for (const Json& request : server_->requests()) EXPECT_EQ(request["path"], "/v1/chat/completions");
  refused(0, {}, {{"*", {{"content", fmt::format("it is {}", kKey)}}}}, "6 of 6 answered");
}

TEST_F(AskVerb, TrustsTheCertificatesOfTheEnvironment) {
  server_ = std::make_unique<MockServer>(dir_ / "tls", MockServer::Scheme::https);
  const std::string endpoint = "endpoint=" + server_->url("/v1", "localhost");
  const Finished refused = run(arguments({endpoint, "attempts=1"}), "", variables());
  EXPECT_EQ(refused.code, 1);
  expect_contains(refused.err, "certificate");
  std::vector<std::string> all = variables();
  all.push_back("SSL_CERT_FILE=" + std::string(FRUGAL_SOURCE_DIR) + "/tests/golden/tls/ca.pem");
  const Finished done = run(arguments({endpoint}), "", all);
  EXPECT_EQ(done.code, 0) << done.err;
  expect_contains(done.out, "6 of 6");
}

TEST_F(AskVerb, MistakesAreSaid) {
  const auto message = [&](const std::string& set) { return error(2, arguments({set}), "", variables()); };
  expect_contains(message("licence="), "licence: say under which terms");
  expect_contains(message("api_key_env=NO_SUCH_KEY"), "NO_SUCH_KEY is not set");
  expect_contains(message("temperature=1"), "temperature");
  expect_contains(message("filter.answer=near"), "filter.answer");
  expect_contains(error(2, {"distill", "ask"}), "RECIPE");
  const Finished missing = run(arguments({"prompts=nowhere.jsonl"}), "", variables());
  EXPECT_EQ(missing.code, 1);
  expect_contains(missing.err, "nowhere.jsonl");
  EXPECT_TRUE(server_->requests().empty());
}

TEST_F(AskVerb, TheCapStopsCleanly) {
  const Finished done = run(arguments({"spend_cap=0.11"}), "", variables());
  EXPECT_EQ(done.code, 0) << done.err;
  expect_contains(done.err, "stopped at spend_cap");
  const Json capped = parse_json(run(arguments({"spend_cap=0.11"}, true), "", variables()).out, "stdout");
  EXPECT_EQ(capped["capped"], true);
  EXPECT_LE(capped["spent_in_all"].get<double>(), 0.11);
  EXPECT_GT(capped["answered_before"].get<int>(), 0);
  EXPECT_EQ(parse_json(run(arguments({}, true), "", variables()).out, "stdout")["missing"], 0);
  EXPECT_EQ(server_->requests().size(), 6u);
}

TEST_F(AskVerb, StoppingKeepsAll) {
  server_->faults({{"*", {{"wait", 0.2}}}});
  std::vector<std::string> all = variables();
  all.push_back("HOME=" + dir_.string());
  const pid_t child = start_program(dir_, arguments({"concurrency=1"}), "", all);
  for (int i = 0; i < 1000 && server_->requests().empty(); ++i) ::usleep(10'000);
  ::kill(child, SIGINT);
  const Finished done = wait_for_program(child, dir_);
  EXPECT_EQ(done.code, 130) << done.err;
  expect_contains(done.err, "the same command goes on");
  server_->faults(Json::object());
  const Json rest = parse_json(run(arguments({}, true), "", variables()).out, "stdout");
  EXPECT_EQ(rest["missing"], 0);
  EXPECT_GT(rest["answered_before"].get<int>(), 0);
  EXPECT_NEAR(rest["spent_in_all"].get<double>(), 0.03006, 1e-9);  // nothing twice
}

// The endpoint's top log-probabilities become targets where its tokens are the model's.
TEST_F(AskVerb, TopLogProbabilitiesTeach) {
  const Tokenizer tokenizer = Tokenizer::load(fs::path(model()) / "model");
  const std::string reply = "There were small boats.";
  Json places = Json::array();
  for (const int32_t id : tokenizer.encode(reply)) {
    const std::string bytes(tokenizer.token_bytes(id));
    const Json token = {{"token", bytes}, {"bytes", nullptr}, {"logprob", -0.7}};
    places.push_back(token);
    places.back()["top_logprobs"] = {token, {{"token", " sea"}, {"bytes", nullptr}, {"logprob", -1.5}}};
  }
  const auto tokens = std::ssize(places);
  // The last two are one token to the teacher.
  places[static_cast<size_t>(tokens) - 2]["token"] =
      places[static_cast<size_t>(tokens) - 2]["token"].get<std::string>() +
      places[static_cast<size_t>(tokens) - 1]["token"].get<std::string>();
  places.erase(static_cast<size_t>(tokens) - 1);
  server_->faults({{"*", {{"content", reply}, {"logprobs", places}}}});
  ASSERT_EQ(run(arguments({"parameters.logprobs=2"}), "", variables()).code, 0);
  file("t.toml", fmt::format("init = \"{}\"\noutput = \"{}\"\n[data]\ntrain = [\"{}\"]\n[budget]\nsteps = 2\n"
                             "[train]\nbatch = 2\ncontext = 96\n[sft]\nlogprobs = 0.8\n",
                             model(), (dir_ / "tuned").string(), (dir_ / "out/dataset.jsonl").string()));
  const Finished tuned = run({"tune", (dir_ / "t.toml").string()});
  ASSERT_EQ(tuned.code, 0) << tuned.err;
  expect_contains(tuned.err, "12 fit none of its tokens");
  Json said;
  for (const StageRecord& stage : read_stages(dir_ / "tuned")) said = stage.result.value("logprobs", said);
  EXPECT_EQ(said, (Json{{"examples", 6}, {"tokens_mapped", 6 * (tokens - 2)}, {"tokens_unmapped", 12}}));
  // Examples without any are told of.
  server_->faults(Json::object());
  ASSERT_EQ(run(arguments({"output=" + (dir_ / "plain").string()}), "", variables()).code, 0);
  const std::string message =
      error(1, {"tune", (dir_ / "t.toml").string(), "--quiet", "--set", "output=" + (dir_ / "none").string(),
                "--set", "data.train=[\"" + (dir_ / "plain/dataset.jsonl").string() + "\"]"});
  expect_contains(message, "no example has \"logprobs\"");
}
}  // namespace
}  // namespace frugal
