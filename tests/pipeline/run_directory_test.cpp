// A run directory is locked, remembers stages, and is never overwritten by another recipe.
#include "pipeline/run_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace frugal {
namespace {

class RunDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "frugal_run_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    base_ = name;
  }
  void TearDown() override { fs::remove_all(base_); }
  static std::string error_of(const std::function<void()>& body) {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  static StageRecord record(const char* name, bool done) {
    StageRecord r;
    r.name = name;
    r.inputs = "abc";
    r.done = done;
    r.bill.seconds = 2.5;
    r.result = {{"tokens", 7}};
    return r;
  }
  fs::path base_;
};

TEST_F(RunDirectoryTest, RemembersStages) {
  {
    RunDirectory directory(base_ / "run");
    directory.put(record("data", true));
    directory.put(record("pretrain", false));
    directory.put(record("pretrain", true));
  }
  const RunDirectory directory(base_ / "run");
  ASSERT_EQ(directory.stages().size(), 2u);
  EXPECT_TRUE(directory.find("pretrain")->done);
  EXPECT_EQ(directory.find("data")->result["tokens"], 7);
  EXPECT_EQ(directory.find("data")->bill.seconds, 2.5);
  EXPECT_EQ(directory.find("samples"), nullptr);
}

TEST_F(RunDirectoryTest, OneProcessAtATime) {
  const RunDirectory directory(base_ / "run");
  const std::string message = error_of([&] { RunDirectory again(base_ / "run"); });
  EXPECT_NE(message.find("in use"), std::string::npos);
  EXPECT_NE(message.find(std::to_string(getpid())), std::string::npos);
}

TEST_F(RunDirectoryTest, AnotherRecipeIsRefusedAndNamed) {
  {
    RunDirectory directory(base_ / "run");
    directory.adopt({{"train", {{"batch", 4}}}, {"threads", 1}}, {"threads"}, true);
    directory.adopt({{"train", {{"batch", 5}}}, {"threads", 1}}, {"threads"},
                    false);  // nothing was trained yet
    directory.put(record("data", true));
    directory.adopt({{"train", {{"batch", 5}}}, {"threads", 2}}, {"threads"}, true);
  }
  RunDirectory directory(base_ / "run");
  const std::string before = read_file(base_ / "run" / "recipe.toml");
  const std::string message = error_of([&] {
    directory.adopt({{"train", {{"batch", 6}}}, {"threads", 2}}, {"threads"}, true);
  });
  EXPECT_NE(message.find("train.batch = 5 there, 6 here"), std::string::npos) << message;
  EXPECT_EQ(read_file(base_ / "run" / "recipe.toml"), before);
}

TEST_F(RunDirectoryTest, FoldersOfOthersAndFilesAreRefused) {
  std::ofstream(base_ / "thesis.txt") << "x";
  EXPECT_NE(error_of([&] { RunDirectory d(base_); }).find("other things"), std::string::npos);
  EXPECT_NE(error_of([&] { RunDirectory d(base_ / "thesis.txt"); }).find("is a file"), std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(base_), fs::directory_iterator()), 1);
}

TEST_F(RunDirectoryTest, DamagedRecordsAreAnError) {
  { RunDirectory directory(base_ / "run"); }
  for (const char* text :
       {"{", "[]", R"({"schema":1,"stages":[{"name":3}]})", R"({"schema":99,"stages":[]})"}) {
    std::ofstream(base_ / "run" / "stages.json") << text;
    EXPECT_NE(error_of([&] { RunDirectory d(base_ / "run"); }).find("stages.json"), std::string::npos)
        << text;
  }
}

TEST_F(RunDirectoryTest, LogLinesAreWholeAfterAKill) {
  { RunDirectory(base_ / "run").log({{"event", "start"}}); }
  std::ofstream(base_ / "run" / "log.jsonl", std::ios::app) << R"({"event":"st)";
  { RunDirectory(base_ / "run").log({{"event", "start"}}); }
  EXPECT_EQ(read_file(base_ / "run" / "log.jsonl"),
            "{\"event\":\"start\"}\n{\"event\":\"st\n{\"event\":\"start\"}\n");
}

TEST(Difference, FindsChangedMissingAndNewKeys) {
  const Json a = {{"x", 1}, {"t", {{"y", 2}}}}, b = {{"x", 1}, {"t", {{"y", 3}}}}, c = {{"x", 1}};
  EXPECT_EQ(first_difference(a, a, {}), std::nullopt);
  EXPECT_EQ(first_difference(a, b, {}), "t.y = 2 there, 3 here");
  EXPECT_EQ(first_difference(a, c, {}), "t.y = 2 there, unset here");
  EXPECT_EQ(first_difference(c, a, {}), "t.y = unset there, 2 here");
  EXPECT_EQ(first_difference(a, b, {"t."}), std::nullopt);
}

}  // namespace
}  // namespace frugal
