// Pulls from a hub on loopback that cuts, lies, limits and redirects.
#include "hub/pull.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <thread>

#include "core/error.h"
#include "core/interrupted.h"
#include "hub/store.h"
#include "mock_server.h"

namespace frugal::hub {
namespace {

std::string noise(size_t bytes) {
  std::string out(bytes, '\0');
  uint32_t state = 1;
  for (char& c : out) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return out;
}

class PullTest : public testing::Test {
 protected:
  fs::path dir_ =
      fs::temp_directory_path() / fmt::format("frugal_pull_{}_{}", ::getpid(),
                                              testing::UnitTest::GetInstance()->current_test_info()->name());
  std::unique_ptr<MockServer> hub_;
  PullOptions options_;
  std::string weights_ = noise(200'000);

  void SetUp() override {
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    hub_ = std::make_unique<MockServer>(dir_ / "hub");
    hub_->add("o/m/config.json", "{}");
    hub_->add("o/m/tokenizer.json", "{\"a\": 1}");
    hub_->add("o/m/model.safetensors", weights_);
    hub_->add("o/m/pytorch_model.bin", "pickle");
    hub_->add("o/m/onnx/model.onnx", "other");
    options_.store = dir_ / "store";
    options_.endpoint = hub_->url();
    options_.retry = {.attempts = 3, .first_delay = 0.001, .longest_delay = 0.01};
    options_.stall_seconds = 1;
  }
  void TearDown() override {
    hub_.reset();
    fs::remove_all(dir_);
  }
  PullResult pull(const std::string& source = "hf:o/m") {
    return hub::pull(parse_source(source), options_, {});
  }
  std::string error(const std::string& source = "hf:o/m") {
    try {
      pull(source);
    } catch (const Error& e) {
      return e.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }
  std::string stored(const std::string& path) const { return read_file(options_.store / path); }
  // How often the weights were asked for, and with which Range.
  std::vector<std::string> ranges(const std::string& end = ".safetensors") {
    std::vector<std::string> out;
    for (const Json& request : hub_->requests()) {
      if (!request["path"].get<std::string>().ends_with(end)) continue;
      out.push_back(request["range"].is_string() ? request["range"].get<std::string>() : "");
    }
    return out;
  }
};

#define EXPECT_SAYS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << (text) << " lacks " << (part)

class TlsPullTest : public PullTest {
 protected:
  void SetUp() override {
    PullTest::SetUp();
    hub_ = std::make_unique<MockServer>(dir_ / "hub", MockServer::Scheme::https);
    options_.endpoint = hub_->url("", "localhost");
    options_.ca_file = std::string(FRUGAL_SOURCE_DIR) + "/tests/golden/tls/ca.pem";
  }
};

TEST_F(TlsPullTest, ResumesAndChecksUnderAPrivateAuthority) {
  ASSERT_TRUE(options_.endpoint.starts_with("https://localhost:"));
  hub_->faults({{"model.safetensors", {{"cut", 70'000}}}});
  pull();
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
  EXPECT_EQ(ranges(), (std::vector<std::string>{"", "bytes=70000-"}));
  hub_->faults({{"model.safetensors", {{"wrong_bytes", 9}}}});
  options_.again = true;
  const std::string broken = error();
  EXPECT_SAYS(broken, "not what it should be");
}

TEST_F(TlsPullTest, AnUnknownAuthorityIsRefusedAtOnce) {
  options_.ca_file.clear();
  const std::string unknown = error();
  EXPECT_SAYS(unknown, "certificate");
  EXPECT_TRUE(hub_->requests().empty());
  options_.ca_file = (dir_ / "none.pem").string();
  const std::string missing = error();
  EXPECT_SAYS(missing, "none.pem");
}

TEST_F(PullTest, TakesWhatAModelNeeds) {
  const PullResult result = pull();
  EXPECT_EQ(result.directory, options_.store / "o" / "m");
  EXPECT_EQ(result.files.size(), 3u);
  EXPECT_EQ(result.received, 200'000 + 2 + 8);
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
  EXPECT_FALSE(fs::exists(result.directory / "pytorch_model.bin"));
  for (const PulledFile& file : result.files) {
    EXPECT_TRUE(file.fetched);
    EXPECT_EQ(file.checksum.kind,
              file.path == "model.safetensors" ? Checksum::Kind::sha256 : Checksum::Kind::git_blob);
  }
  for (const auto& entry : fs::recursive_directory_iterator(options_.store))
    EXPECT_EQ(entry.path().string().find(".part"), std::string::npos);
  EXPECT_EQ(find_in_store(options_.store, "m"), result.directory);
  EXPECT_EQ(find_in_store(options_.store, "o/m"), result.directory);
  EXPECT_EQ(find_in_store(options_.store, "x"), fs::path());

  hub_->requests();
  const PullResult again = pull();  // nothing to do but to ask
  EXPECT_EQ(again.received, 0);
  EXPECT_EQ(hub_->requests().size(), 1u);
  fs::remove(result.directory / ".frugal.json");  // then files are looked at
  EXPECT_EQ(pull().received, 0);
  write_file_atomically(result.directory / "config.json", "[]");  // damaged, of the same size
  fs::remove(result.directory / ".frugal.json");
  EXPECT_EQ(pull().received, 2);
  EXPECT_EQ(stored("o/m/config.json"), "{}");
}

TEST_F(PullTest, ACutConnectionGoesOnWhereItWas) {
  hub_->faults({{"model.safetensors", {{"cut", 70'000}}}});
  EXPECT_EQ(pull().received, 200'000 + 10);
  EXPECT_EQ(ranges(), (std::vector<std::string>{"", "bytes=70000-"}));
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, ALaterPullGoesOnToo) {
  hub_->faults({{"model.safetensors", {{"cut", 70'000}}}});
  options_.retry.attempts = 1;
  EXPECT_SAYS(error(), "70000 bytes are kept");
  EXPECT_FALSE(fs::exists(options_.store / "o/m/model.safetensors"));
  EXPECT_EQ(pull().received, 130'000);
  EXPECT_EQ(ranges(), (std::vector<std::string>{"", "bytes=70000-"}));
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, APartOfSomethingElseIsNotContinued) {
  hub_->faults({{"model.safetensors", {{"cut", 70'000}}}});
  options_.retry.attempts = 1;
  error();
  weights_[5] ^= 1;
  hub_->add("o/m/model.safetensors", weights_);
  EXPECT_EQ(pull().received, 200'000);
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, ServersWithoutRangesStartAgain) {
  hub_->faults({{"model.safetensors", {{"cut", 70'000}, {"no_range", true}}}});
  EXPECT_EQ(pull().received, 270'000 + 10);
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, ARangeThatWasNotAskedForIsNotTaken) {
  hub_->faults({{"model.safetensors", {{"cut", 70'000}, {"other_range", true}}}});
  pull();
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, WrongBytesAreFetchedOnceMore) {
  hub_->faults({{"model.safetensors", {{"wrong_bytes", 1}}}, {"config.json", {{"wrong_bytes", 1}}}});
  pull();
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
  EXPECT_EQ(stored("o/m/config.json"), "{}");
}

TEST_F(PullTest, WrongBytesTwiceAreAnError) {
  hub_->faults({{"model.safetensors", {{"wrong_bytes", 9}}}});
  const std::string said = error();
  EXPECT_SAYS(said, "expected sha256:");
  EXPECT_SAYS(said, "model.safetensors");
  EXPECT_FALSE(fs::exists(options_.store / "o/m/model.safetensors"));
  EXPECT_FALSE(fs::exists(options_.store / "o/m/model.safetensors.part"));
}

TEST_F(PullTest, WrongSizesAreAnError) {
  hub_->faults({{"model.safetensors", {{"longer", 5}}}});
  EXPECT_SAYS(error(), "200000 bytes, where 200005 are expected");
  hub_->faults({{"model.safetensors", {{"longer", -5}}}});
  EXPECT_SAYS(error(), "200000 bytes, where 199995 are expected");
  hub_->faults({{"model.safetensors", {{"longer", int64_t{1} << 60}}}});
  EXPECT_SAYS(error(), "are free");
  EXPECT_FALSE(fs::exists(options_.store / "o/m/model.safetensors"));
}

TEST_F(PullTest, TemporaryFailuresPass) {
  hub_->faults({{"api", {{"fail", {500, 429}}, {"retry_after", "0"}}},
                {"model.safetensors", {{"fail", {503, 502}}}},
                {"config.json", {{"fail", {429, 408}}, {"retry_after", "Thu, 01 Jan 2099 00:00:00 GMT"}}}});
  pull();
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, FailuresThatStayAreSaid) {
  hub_->faults({{"api", {{"status", 503}}}});
  EXPECT_SAYS(error(), "503");
  hub_->requests();
  hub_->faults({{"model.safetensors", {{"status", 500}}}});
  EXPECT_SAYS(error(), "500");
  EXPECT_EQ(ranges().size(), 3u);
  options_.endpoint = "http://127.0.0.1:1";
  EXPECT_SAYS(error(), "127.0.0.1");
}

TEST_F(PullTest, WhatIsNotAllowedSaysWhatToDo) {
  hub_->faults({{"api", {{"status", 401}}}});
  EXPECT_SAYS(error(), "set HF_TOKEN");
  options_.token = "hf_secret";
  const std::string said = error();
  EXPECT_SAYS(said, "not accepted");
  EXPECT_EQ(said.find("hf_secret"), std::string::npos);
  hub_->faults({{"model.safetensors", {{"status", 403}, {"message", "gated"}}}});
  EXPECT_SAYS(error(), "given access");
  EXPECT_SAYS(error(), "(gated)");
  hub_->faults(Json::object());
  EXPECT_SAYS(error("hf:o/none"), "not found");
  hub_->faults({{"model.safetensors", {{"status", 416}}}});
  EXPECT_SAYS(error(), "416");
}

TEST_F(PullTest, TheTokenStaysWithItsHub) {
  options_.token = "hf_secret";
  hub_->faults({{"api", {{"token", "hf_secret"}}},
                {"model.safetensors", {{"redirect", hub_->url("/o/m/elsewhere.bin", "localhost")}}},
                {"config.json", {{"redirect", "/o/m/config2.json"}}}});
  hub_->add("o/m/elsewhere.bin", weights_);
  hub_->add("o/m/config2.json", "{}");
  pull();
  int elsewhere = 0;
  for (const Json& request : hub_->requests()) {
    const bool other = request["host"].get<std::string>().starts_with("localhost");
    elsewhere += other;
    EXPECT_EQ(request["authorization"], other ? Json() : Json("Bearer hf_secret")) << to_text(request);
  }
  EXPECT_EQ(elsewhere, 1);
  options_.token = "bad token\r\nX: y";
  EXPECT_THROW(pull(), UsageError);
}

TEST_F(PullTest, RedirectsEnd) {
  hub_->faults({{"model.safetensors", {{"redirect", "{}"}}}});
  EXPECT_SAYS(error(), "redirects");
  hub_->faults({{"model.safetensors", {{"redirect", "file:///etc/passwd"}}}});
  EXPECT_SAYS(error(), "not http");
  EXPECT_FALSE(fs::exists(options_.store / "o/m/model.safetensors"));
}

TEST_F(PullTest, HostileNamesAreLeftOut) {
  hub_->faults(
      {{"api", {{"extra_names", {"../../evil.safetensors", "/etc/evil.json", "a/../../b", ".ssh/keys"}}}}});
  options_.again = true;
  EXPECT_EQ(pull().files.size(), 3u);
  EXPECT_EQ(pull("hf:o/m:*").files.size(), 5u);
  EXPECT_FALSE(fs::exists(dir_ / "evil.safetensors"));
}

TEST_F(PullTest, OneGgufOfMany) {
  hub_->add("o/g/config.json", "{}");
  hub_->add("o/g/g-Q4_K_M.gguf", "four");
  EXPECT_EQ(pull("hf:o/g").files.size(), 1u);
  EXPECT_EQ(find_in_store(options_.store, "g"), options_.store / "o/g/g-Q4_K_M.gguf");
  hub_->add("o/g/g-Q8_0.gguf", "eight");
  EXPECT_SAYS(error("hf:o/g"), "choose with hf:o/g:FILE among: g-Q4_K_M.gguf (0.0 MB), g-Q8_0.gguf");
  EXPECT_EQ(pull("hf:o/g:*Q8_0*").files.front().path, "g-Q8_0.gguf");
  EXPECT_SAYS(error("hf:o/g:*Q5*"), "no file matches '*Q5*'");
  EXPECT_EQ(find_in_store(options_.store, "g-Q8_0"), options_.store / "o/g/g-Q8_0.gguf");
  EXPECT_EQ(find_in_store(options_.store, "g-Q8_0.gguf"), options_.store / "o/g/g-Q8_0.gguf");
  EXPECT_EQ(find_in_store(options_.store, "g"), fs::path());  // which of the two?
}

TEST_F(PullTest, PartsComeTogether) {
  hub_->add("o/s/q-00001-of-00002.gguf", "one");
  hub_->add("o/s/q-00002-of-00002.gguf", "two");
  EXPECT_EQ(pull("hf:o/s").files.size(), 2u);
  options_.again = true;
  EXPECT_EQ(pull("hf:o/s:q-00001-of-00002.gguf").files.size(), 2u);
  EXPECT_EQ(find_in_store(options_.store, "s"), options_.store / "o/s/q-00001-of-00002.gguf");
  hub_->add("o/s/sub/deep.gguf", "three");  // below, by its own name
  EXPECT_EQ(pull("hf:o/s:sub/*").files.size(), 1u);
  EXPECT_EQ(find_in_store(options_.store, "deep"), options_.store / "o/s/sub/deep.gguf");
  hub_->add("o/t/config.json", "{}");
  for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                           "model.safetensors.index.json", "consolidated.safetensors"}) {
    hub_->add(std::string("o/t/") + name, name);
  }
  EXPECT_EQ(pull("hf:o/t").files.size(), 4u);
}

TEST_F(PullTest, NothingToReadIsSaid) {
  hub_->add("o/p/pytorch_model.bin", "pickle");
  EXPECT_SAYS(error("hf:o/p"), "pytorch_model.bin");
  hub_->add("o/q/README.md", "text");
  EXPECT_SAYS(error("hf:o/q"), "no safetensors and no GGUF");
}

TEST_F(PullTest, Urls) {
  hub_->add("files/tiny.gguf", weights_);
  const std::string url = hub_->url("/files/tiny.gguf");
  const PullResult result = pull(url + "?signature=secret");
  EXPECT_EQ(result.files.front().checksum.kind, Checksum::Kind::sha256);
  EXPECT_EQ(read_file(result.directory / "tiny.gguf"), weights_);
  EXPECT_EQ(read_file(result.directory / ".frugal.json").find("secret"), std::string::npos);
  EXPECT_EQ(find_in_store(options_.store, "tiny"), result.directory / "tiny.gguf");
  EXPECT_EQ(pull(url).received, 0);
  options_.again = true;
  EXPECT_EQ(pull(url).received, 200'000);
  options_.sha256 = result.files.front().checksum.hex;
  EXPECT_EQ(pull(url).received, 200'000);
  options_.sha256 = std::string(64, '0');
  EXPECT_SAYS(error(url), "expected sha256:000");
  options_.sha256 = "12";
  EXPECT_SAYS(error(url), "64 hexadecimal digits");
  options_.sha256.clear();
  hub_->faults({{"tiny.gguf", {{"html", true}}}});
  EXPECT_SAYS(error(url), "web page");
  EXPECT_EQ(read_file(result.directory / "tiny.gguf"), weights_);  // the good one stays
}

TEST_F(PullTest, UrlsContinueOnlyTheSameContent) {
  hub_->add("files/tiny.gguf", weights_);
  const std::string url = hub_->url("/files/tiny.gguf");
  hub_->faults({{"tiny.gguf", {{"cut", 50'000}}}});
  EXPECT_EQ(pull(url).received, 200'000);
  EXPECT_EQ(ranges(".gguf"), (std::vector<std::string>{"", "bytes=50000-"}));
  options_.again = true;
  hub_->add("files/weak.gguf",
            weights_);  // no strong validator: nobody could tell whether the rest belongs to it
  hub_->faults({{"weak.gguf", {{"cut", 50'000}, {"etag", "W/\"x\""}}}});
  EXPECT_EQ(pull(hub_->url("/files/weak.gguf")).received, 250'000);
  EXPECT_EQ(ranges(".gguf"), (std::vector<std::string>{"", ""}));
}

TEST_F(PullTest, HubsSayTheChecksumOnTheWay) {
  hub_->add("files/tiny.gguf", weights_);
  hub_->faults({{"linked.gguf",
                 {{"redirect", hub_->url("/files/tiny.gguf", "localhost")},
                  {"linked_etag", "\"" + std::string(64, 'a') + "\""}}}});
  EXPECT_SAYS(error(hub_->url("/files/linked.gguf")), "expected sha256:aaaa");
}

TEST_F(PullTest, StalledConnectionsAreTriedAgain) {
  hub_->faults({{"model.safetensors", {{"stall", true}}}});
  pull();
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, StoppingKeepsWhatCameIn) {
  std::atomic<bool> stop{false};
  options_.stop = &stop;
  EXPECT_THROW(hub::pull(parse_source("hf:o/m"), options_,
                         [&](const PullProgress& p) { stop = p.file == "model.safetensors" && p.done > 10; }),
               Interrupted);
  EXPECT_TRUE(fs::exists(options_.store / "o/m/model.safetensors.part"));
  stop = false;
  EXPECT_LT(pull().received, 200'000);
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, AFullDiskIsSaid) {
  // A file that may not grow stands for a disk that is full.
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 60'000;
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string said = error();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old);
  EXPECT_SAYS(said, "cannot write");
  EXPECT_EQ(pull().received, 140'000);
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, TwoAtOnceDoNotMix) {
  std::string second;
  hub::pull(parse_source("hf:o/m"), options_, [&](const PullProgress& p) {
    if (p.file == "model.safetensors" && second.empty()) second = error();
  });
  EXPECT_SAYS(second, "another process");
  EXPECT_EQ(stored("o/m/model.safetensors"), weights_);
}

TEST_F(PullTest, NoHubThere) {
  hub_->add("api/models/x/y/revision/main", "irrelevant");
  hub_->faults({{"api", {{"status", 200}}}});
  EXPECT_SAYS(error(), "JSON");
  options_.endpoint = "not a url";
  EXPECT_THROW(pull(), UsageError);
}

}  // namespace
}  // namespace frugal::hub
