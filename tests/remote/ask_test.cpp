// A remote teacher that fails in every way servers fail, on loopback.
#include "remote/ask.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "mock_server.h"

namespace frugal::remote {
namespace {

constexpr const char* kKey = "sk-secret-0123456789";

class RemoteAsk : public testing::Test {
 protected:
  fs::path dir_;
  std::unique_ptr<MockServer> server_;
  AskOptions options_;

  void SetUp() override {
    dir_ = fs::temp_directory_path() /
           fmt::format("frugal_ask_{}_{}", ::getpid(),
                       testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(dir_);
    server_ = std::make_unique<MockServer>(dir_ / "server");
    options_.endpoint = server_->url("/v1");
    options_.model = "mock";
    options_.licence = "test";
    options_.backoff = 0.001;
    options_.concurrency = 3;
    options_.timeout = 20;
    options_.parameters.max_tokens = 100;
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(dir_);
  }

  void prompts(const std::vector<Json>& rows) {
    std::string text;
    for (const Json& row : rows) text += to_text(row.is_string() ? Json{{"prompt", row}} : row) + "\n";
    write_file_atomically(dir_ / "prompts.jsonl", text);
    options_.prompts = {(dir_ / "prompts.jsonl").string()};
  }
  void faults(const Json& faults) { server_->faults(faults); }
  AskOutcome run(const std::atomic<bool>* stop = nullptr,
                 std::function<void(const AskOutcome&)> progress = {}) const {
    return ask(options_, dir_ / "out", {{kKey, ""}, stop, std::move(progress)});
  }
  std::vector<Json> dataset() const {
    std::vector<Json> rows;
    std::istringstream lines(read_file(dir_ / "out/dataset.jsonl"));
    for (std::string line; std::getline(lines, line);) rows.push_back(parse_json(line, "dataset"));
    return rows;
  }
  // Dollars in the journal's answers only.
  void expect_no_key() const {
    for (const auto& file : fs::directory_iterator(dir_ / "out"))
      EXPECT_EQ(read_file(file.path()).find("secret"), std::string::npos) << file.path();
  }
};

TEST_F(RemoteAsk, AnswersBecomeADataset) {
  prompts(
      {"one",
       {{"messages", {{{"role", "user"}, {"content", "two"}}, {{"role", "assistant"}, {"content", "old"}}}}},
       "one",
       {{"prompt", "three"}, {"answer", 3}}});
  options_.system = "Be brief.";
  options_.parameters.temperature = 0.5;
  options_.parameters.seed = 7;
  const AskOutcome outcome = run();
  EXPECT_EQ(outcome.failure, "");
  EXPECT_EQ(outcome.wanted, 3);
  EXPECT_EQ(outcome.duplicates, 1);
  EXPECT_EQ(outcome.answered, 3);
  EXPECT_EQ(outcome.kept, 3);
  EXPECT_EQ(outcome.prompt_tokens, 30);
  EXPECT_EQ(outcome.answer_tokens, 15);
  EXPECT_TRUE(outcome.flags.empty());
  const std::vector<Json> rows = dataset();
  ASSERT_EQ(rows.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const char* names[] = {"one", "two", "three"};
    const std::string name = names[i];
    EXPECT_EQ(rows[i]["messages"], Json::array({{{"role", "system"}, {"content", "Be brief."}},
                                                {{"role", "user"}, {"content", name}},
                                                {{"role", "assistant"}, {"content", "Answer to: " + name}}}));
    const Json& provenance = rows[i]["provenance"];
    EXPECT_EQ(provenance["endpoint"], options_.endpoint);
    EXPECT_EQ(provenance["model"], "mock-1");
    EXPECT_EQ(provenance["model_asked"], "mock");
    EXPECT_EQ(provenance["licence"], "test");
    EXPECT_EQ(provenance["request_id"], "req-1");
    EXPECT_EQ(provenance["usage"]["prompt_tokens"], 10);
    EXPECT_EQ(provenance["parameters"], (Json{{"max_tokens", 100}, {"temperature", 0.5}, {"seed", 7}}));
    EXPECT_EQ(provenance["time"].get<std::string>().size(), 20u);
  }
  EXPECT_EQ(rows[2]["answer"], "3");
  for (const Json& request : server_->requests()) {
    EXPECT_EQ(request["authorization"], std::string("Bearer ") + kKey);
    EXPECT_EQ(request["body"]["model"], "mock");
  }
  expect_no_key();
}

TEST_F(RemoteAsk, NothingIsPaidTwice) {
  prompts({"one", "two"});
  EXPECT_EQ(run().answered, 2);
  const AskOutcome again = run();
  EXPECT_EQ(again.known, 2);
  EXPECT_EQ(again.answered, 0);
  EXPECT_EQ(again.kept, 2);
  EXPECT_EQ(server_->requests().size(), 2u);
  prompts({"two", "three"});
  EXPECT_EQ(run().answered, 1);
  EXPECT_EQ(dataset()[0]["messages"][0]["content"], "two");
  options_.parameters.max_tokens = 99;  // another question
  EXPECT_EQ(run().answered, 2);
  options_.samples = 3;
  EXPECT_EQ(run().answered, 4);
  EXPECT_EQ(dataset().size(), 6u);
  EXPECT_EQ(server_->requests().size(), 7u);
}

// Each of these passes with another attempt.
TEST_F(RemoteAsk, TemporaryFailuresAreTriedAgain) {
  const std::pair<const char*, Json> kinds[] = {{"busy", {{"fail", {429, 500, 503}}, {"retry_after", "0"}}},
                                                {"gateway", {{"fail", {502}}}},
                                                {"invalid", {{"invalid", 2}}},
                                                {"cut", {{"cut", 1}}},
                                                {"stream", {{"stream", 1}}},
                                                {"close", {{"close", 1}}}};
  Json all = Json::object();
  std::vector<Json> rows;
  for (const auto& [name, fault] : kinds) {
    all[name] = fault;
    rows.emplace_back(name);
  }
  faults(all);
  prompts(rows);
  options_.price_output = 10;
  options_.spend_cap = 1;
  const AskOutcome outcome = run();
  EXPECT_EQ(outcome.failure, "");
  EXPECT_EQ(outcome.kept, 6);
  EXPECT_EQ(outcome.retries, 9);
  EXPECT_DOUBLE_EQ(outcome.dollars, 6 * 5 * 10 / 1e6);
  // The server may bill what it did not deliver: a gateway that gave up, 2 + 1 + 1 broken bodies, a hang-up.
  EXPECT_DOUBLE_EQ(outcome.uncertain, 6 * 100 * 10 / 1e6);
  EXPECT_DOUBLE_EQ(outcome.spent, outcome.dollars + outcome.uncertain);
  EXPECT_DOUBLE_EQ(run().spent, outcome.spent);  // from the journal
}

TEST_F(RemoteAsk, SilenceEnds) {
  faults({{"slow", {{"stall", 1}}}});
  prompts({"slow"});
  options_.timeout = 0.3;
  const AskOutcome outcome = run();
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.retries, 1);
}

TEST_F(RemoteAsk, PatienceEndsAndOthersAreKept) {
  faults({{"bad", {{"status", 500}, {"message", "melted"}}},
          {"worse", {{"invalid", 100}}},
          {"long", {{"status", 400}, {"message", "too long"}}}});
  prompts({"good", "bad", "worse", "long"});
  options_.attempts = 2;
  options_.concurrency = 1;
  const AskOutcome outcome = run();
  EXPECT_EQ(outcome.failed, 3);
  EXPECT_EQ(outcome.missing(), 3);
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.retries, 2);  // a 400 is not tried again
  EXPECT_NE(outcome.failure.find("status 500 (melted)"), std::string::npos) << outcome.failure;
  faults(Json::object());
  EXPECT_EQ(run().answered, 3);
}

TEST_F(RemoteAsk, WhatIsNoPromptsFaultEndsAll) {
  const std::tuple<Json, const char*> kinds[] = {
      {{{"status", 401}, {"message", "bad key {key}"}}, "not accepted"},
      {{{"status", 403}}, "no access"},
      {{{"status", 404}}, "check endpoint and model"},
      {{{"status", 429}, {"code", "insufficient_quota"}}, "credit"},
      {{{"redirect", server_->url("/v1/chat/completions", "localhost")}}, "redirected to http://localhost"}};
  prompts({"one", "two", "three", "four", "five"});
  options_.concurrency = 1;
  for (const auto& [fault, says] : kinds) {
    faults({{"*", fault}});
    const AskOutcome outcome = run();
    EXPECT_EQ(outcome.answered, 0);
    EXPECT_EQ(outcome.retries, 0) << says;
    EXPECT_NE(outcome.failure.find(says), std::string::npos) << outcome.failure;
    EXPECT_EQ(outcome.failure.find("secret"), std::string::npos) << outcome.failure;
    EXPECT_EQ(server_->requests().size(), 1u) << says;
  }
  expect_no_key();
  options_.endpoint = "http://127.0.0.1:1/v1";  // nobody there
  options_.attempts = 2;
  const AskOutcome outcome = run();
  EXPECT_EQ(outcome.failed, 5);
  EXPECT_EQ(outcome.uncertain, 0);
}

TEST_F(RemoteAsk, ABrokenServerIsNotAskedForever) {
  faults({{"*", {{"status", 500}}}});
  std::vector<Json> rows;
  for (int i = 0; i < 50; ++i) rows.emplace_back(fmt::format("prompt {}", i));
  prompts(rows);
  options_.attempts = 1;
  options_.concurrency = 1;
  EXPECT_EQ(run().failed, 8);
}

TEST_F(RemoteAsk, MissingFieldsAreNoAnswer) {
  options_.attempts = 1;
  prompts({"one"});
  const std::pair<Json, const char*> bodies[] = {
      {Json::array(), "choices"},
      {{{"choices", Json::array()}}, "choices"},
      {{{"choices", {{{"text", "x"}}}}}, "message"},
      {{{"choices", {{{"message", {{"role", "assistant"}}}}}}}, "content"},
      {{{"choices", {{{"message", {{"content", 5}}}, {"finish_reason", "stop"}}}}}, "content"}};
  for (const auto& [body, says] : bodies) {
    faults({{"*", {{"body", body}}}});
    const AskOutcome outcome = run();
    EXPECT_EQ(outcome.answered, 0);
    EXPECT_NE(outcome.failure.find(says), std::string::npos) << outcome.failure;
  }
}

TEST_F(RemoteAsk, UsageThatLiesIsCountedInFull) {
  const std::pair<Json, const char*> lies[] = {
      {Json(), "completion_tokens missing"},
      {"none", "completion_tokens missing"},
      {{{"prompt_tokens", 10}}, "completion_tokens missing"},
      {{{"prompt_tokens", 10}, {"completion_tokens", -5}}, "completion_tokens impossible"},
      {{{"prompt_tokens", 10}, {"completion_tokens", 0}}, "completion_tokens impossible"},
      {{{"prompt_tokens", 10}, {"completion_tokens", 1.5}}, "completion_tokens impossible"},
      {{{"prompt_tokens", 10}, {"completion_tokens", "5"}}, "completion_tokens impossible"},
      {{{"prompt_tokens", 10}, {"completion_tokens", 18446744073709551615u}},
       "completion_tokens impossible"}};
  options_.price_output = 10;
  options_.spend_cap = 1;
  int n = 0;
  for (const auto& [usage, flag] : lies) {
    faults({{"*", {{"usage", usage}}}});
    prompts({fmt::format("prompt {}", n++)});
    const AskOutcome outcome = run();
    EXPECT_EQ(outcome.kept, 1);
    EXPECT_DOUBLE_EQ(outcome.dollars, 100 * 10 / 1e6) << to_text(usage);
    EXPECT_TRUE(outcome.flags.contains(flag)) << to_text(usage);
  }
  faults({{"*", {{"usage", {{"prompt_tokens", 10}, {"completion_tokens", 250}}}}}});
  prompts({"more than asked for"});
  EXPECT_DOUBLE_EQ(run().dollars, 250 * 10 / 1e6);
}

TEST_F(RemoteAsk, TheCapHolds) {
  std::vector<Json> rows;
  for (int i = 0; i < 20; ++i) rows.emplace_back(fmt::format("prompt {:02}", i));
  prompts(rows);
  options_.price_output = 1000;  // worst case 0.1, in truth 0.005
  options_.spend_cap = 0.131;
  const AskOutcome first = run();
  EXPECT_TRUE(first.capped);
  EXPECT_EQ(first.failure, "");
  EXPECT_EQ(first.answered, 7);  // six leave 0.101, seven 0.096
  EXPECT_EQ(first.kept, 7);
  EXPECT_LE(first.spent, 0.131);
  const AskOutcome second = run();
  EXPECT_TRUE(second.capped);
  EXPECT_EQ(second.answered, 0);
  options_.spend_cap = 1;
  const AskOutcome third = run();
  EXPECT_FALSE(third.capped);
  EXPECT_EQ(third.answered, 13);
  EXPECT_NEAR(third.spent, 0.1, 1e-12);
  EXPECT_EQ(server_->requests().size(), 20u);
}

TEST_F(RemoteAsk, UnfinishedAnswersAreKeptAndMarked) {
  faults({{"cut off", {{"finish", "length"}}},
          {"no", {{"content", nullptr}, {"refusal", "I will not"}}},
          {"filtered", {{"content", nullptr}, {"finish", "content_filter"}}},
          {"loop", {{"content", std::string(500, 'x')}}},
          {"sum", {{"content", "3 + 4 = 8"}}}});
  prompts({"cut off", "no", "filtered", "loop", {{"prompt", "sum"}, {"answer", "7"}}, "fine"});
  options_.filter.answer = "numeric";
  const AskOutcome outcome = run();
  EXPECT_EQ(outcome.answered, 6);
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.dropped, (std::map<std::string, int64_t>{
                                 {"refused", 1}, {"repetitive", 1}, {"unfinished", 2}, {"wrong", 1}}));
  options_.filter.answer = "off";  // costs nothing
  options_.filter.finished = false;
  const AskOutcome again = run();
  EXPECT_EQ(again.answered, 0);
  EXPECT_EQ(again.kept, 3);
  EXPECT_EQ(dataset()[0]["finish_reason"], "length");
}

TEST_F(RemoteAsk, LogProbabilities) {
  const Json token = {{"token", "A"}, {"bytes", {65}}, {"logprob", -0.1}};
  Json place = token;
  place["top_logprobs"] = Json::array({token, {{"token", "B"}, {"bytes", nullptr}, {"logprob", -9999.0}}});
  Json wrong = place;
  wrong["top_logprobs"][0]["logprob"] = 2;
  Json bytes = place;
  bytes["bytes"] = {256};
  faults({{"good", {{"logprobs", {place, place}}}},
          {"above 1", {{"logprobs", {wrong}}}},
          {"no byte", {{"logprobs", {bytes}}}}});
  prompts({"good", "above 1", "no byte", "none"});
  options_.parameters.logprobs = 2;
  const AskOutcome outcome = run();
  EXPECT_EQ(outcome.kept, 4);
  EXPECT_EQ(outcome.flags, (std::map<std::string, int64_t>{{"logprobs missing", 3}}));
  const std::vector<Json> rows = dataset();
  const Json kept = {{"token", "A"},
                     {"bytes", {65}},
                     {"logprob", -0.1},
                     {"top", Json::array({token, {{"token", "B"}, {"logprob", -9999.0}}})}};
  EXPECT_EQ(rows[0]["logprobs"], Json::array({kept, kept}));
  for (size_t i = 1; i < 4; ++i) EXPECT_FALSE(rows[i].contains("logprobs"));
  EXPECT_EQ(server_->requests()[0]["body"]["top_logprobs"], 2);
}

// A key that the endpoint repeats, escaped or not, goes nowhere.
TEST_F(RemoteAsk, AnEchoedKeyIsTakenOut) {
  faults({{"*", {{"content", fmt::format("the key is {} !", kKey)}, {"model", kKey}}}});
  prompts({"one"});
  EXPECT_EQ(run().kept, 1);
  EXPECT_EQ(dataset()[0]["messages"][1]["content"], "the key is [key] !");
  expect_no_key();
}

TEST_F(RemoteAsk, StoppingWaitsForWhatIsUnderWay) {
  std::vector<Json> rows;
  for (int i = 0; i < 30; ++i) rows.emplace_back(fmt::format("prompt {}", i));
  prompts(rows);
  faults({{"*", {{"wait", 0.03}}}});
  std::atomic<bool> stop = false;
  const AskOutcome outcome = run(&stop, [&](const AskOutcome& now) { stop = stop || now.answered >= 2; });
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(outcome.uncertain, 0);
  const auto sent = static_cast<int64_t>(server_->requests().size());
  EXPECT_EQ(outcome.answered, sent);  // all that was paid for came in
  EXPECT_LT(sent, 30);
  EXPECT_EQ(outcome.kept, sent);
  faults(Json::object());
  EXPECT_EQ(run().answered, 30 - sent);
}

TEST_F(RemoteAsk, BadPromptsAreNamed) {
  const std::pair<Json, const char*> rows[] = {
      {{{"text", "x"}}, "expected \"prompt\" or \"messages\""},
      {{{"prompt", 5}}, "should be a string"},
      {{{"messages", "x"}}, "should be a list"},
      {{{"messages", {{{"role", "user"}}}}}, "messages[0]: \"content\" is missing"},
      {{{"messages", {{{"role", "system"}, {"content", "x"}}}}}, "no question"},
      {{{"prompt", "x"}, {"answer", {1}}}, "\"answer\" should be"},
      {{{"prompt", "good"}, {"answer", "2"}}, "with another \"answer\""}};
  for (const auto& [row, says] : rows) {
    prompts({{{"prompt", "good"}, {"answer", "1"}}, row});
    try {
      run();
      FAIL() << to_text(row);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("prompts.jsonl:2"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  }
  EXPECT_TRUE(server_->requests().empty());
}

TEST(AskOptionsTest, ImpossibleValuesAreNamed) {
  AskOptions good;
  good.endpoint = "https://host/v1";
  good.model = good.licence = "x";
  good.prompts = {"a.jsonl"};
  EXPECT_NO_THROW(check(good));
  const auto message = [&](const std::function<void(AskOptions&)>& change) {
    AskOptions options = good;
    change(options);
    try {
      check(options);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  const auto says = [&](const std::function<void(AskOptions&)>& change, const char* start) {
    EXPECT_TRUE(message(change).starts_with(start)) << message(change);
  };
  says([](auto& o) { o.licence = " "; }, "licence: say under which terms");
  says([](auto& o) { o.model = ""; }, "model");
  says([](auto& o) { o.prompts = {}; }, "prompts");
  says([](auto& o) { o.endpoint = "host"; }, "endpoint");
  says([](auto& o) { o.endpoint = "http://host/v1"; }, "endpoint = \"http://host/v1\": the key would travel");
  says([](auto& o) { o.endpoint = "http://host/v1", o.api_key_env = ""; }, "nothing");
  says([](auto& o) { o.endpoint = "http://localhost:80/v1"; }, "nothing");
  says([](auto& o) { o.price_input = 1; }, "spend_cap");
  says([](auto& o) { o.spend_cap = 1; }, "spend_cap");
  says([](auto& o) { o.filter.answer = "near"; }, "filter.answer");
  says([](auto& o) { o.parameters.max_tokens = 0; }, "parameters.max_tokens");
  says([](auto& o) { o.parameters.max_tokens_field = "n"; }, "parameters.max_tokens_field");
  says([](auto& o) { o.concurrency = 0; }, "concurrency");
  // A key where it should not be is not repeated.
  for (const char* endpoint :
       {"https://u:secret@host/v1", "https://host/v1?key=secret", "https://host/#secret"}) {
    const std::string text = message([&](AskOptions& o) { o.endpoint = endpoint; });
    EXPECT_TRUE(text.starts_with("endpoint")) << text;
    EXPECT_EQ(text.find("secret"), std::string::npos) << text;
  }
  const std::string text = message([](AskOptions& o) { o.api_key_env = "sk-secret"; });
  EXPECT_TRUE(text.starts_with("api_key_env")) << text;
  EXPECT_EQ(text.find("secret"), std::string::npos) << text;
}

}  // namespace
}  // namespace frugal::remote
