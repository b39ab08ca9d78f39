#include "remote/journal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "remote/spending.h"

namespace frugal::remote {
namespace {

class JournalTest : public testing::Test {
 protected:
  fs::path dir_ = fs::temp_directory_path() / fmt::format("frugal_journal_{}", ::getpid());
  fs::path file_ = dir_ / "journal.jsonl";
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }
  static Json answer(const char* key, double dollars) {
    return {{"event", "answer"}, {"key", key}, {"dollars", dollars}};
  }
};

TEST_F(JournalTest, CountsWhatWasSpentAndWhatMayHaveBeen) {
  {
    Journal journal(file_);
    EXPECT_EQ(journal.spent(), 0);
    journal.asked("a", 2);
    journal.answered(answer("a", 0.5));
    journal.asked("b", 2);
    journal.failed("b", 0, "busy");
    journal.asked("b", 2);
    journal.failed("b", 2, "timed out");
    journal.asked("c", 4);  // killed here
  }
  Journal journal(file_);
  EXPECT_DOUBLE_EQ(journal.spent(), 0.5 + 2 + 4);
  EXPECT_EQ(journal.answers().size(), 1u);
  EXPECT_TRUE(journal.answers().contains("a"));
  EXPECT_THROW(Journal second(file_), Error);  // in use
}

// Cut anywhere, it opens, and never forgets money: an answer that is lost counts as its worst case.
TEST_F(JournalTest, TornAnywhere) {
  {
    Journal journal(file_);
    journal.asked("a", 2);
    journal.answered(answer("a", 0.5));
  }
  const std::string whole = read_file(file_);
  const size_t first = whole.find('\n') + 1;
  for (size_t cut = 0; cut < whole.size(); cut += 5) {
    write_file_atomically(file_, whole.substr(0, cut));
    {
      Journal journal(file_);
      EXPECT_EQ(journal.spent(), cut < first ? 0 : 2) << cut;
      EXPECT_TRUE(journal.answers().empty());
      journal.asked("b", 1);
      journal.answered(answer("b", 1));
    }
    EXPECT_EQ(Journal(file_).answers().size(), 1u) << cut;
  }
}

TEST_F(JournalTest, DamageInTheMiddleIsNamed) {
  for (const char* bad :
       {"{\"event\": \"ask\"}\n", "not JSON\n", "[]\n", "{\"event\": 1, \"key\": 2, \"dollars\": 3}\n"}) {
    write_file_atomically(file_, std::string("{\"event\":\"ask\",\"key\":\"a\",\"dollars\":1}\n") + bad);
    try {
      Journal journal(file_);
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("journal.jsonl:2"), std::string::npos) << error.what();
    }
  }
}

TEST(RemotePurse, NeverLendsMoreThanThereIs) {
  const std::atomic<bool> go = false;
  Purse purse(10.0, 4.0);
  EXPECT_TRUE(purse.reserve(3, go));
  EXPECT_TRUE(purse.reserve(3, go));
  purse.settle(3, 1);
  purse.settle(3, 3);
  EXPECT_EQ(purse.spent(), 8);
  EXPECT_FALSE(purse.reserve(3, go));
  EXPECT_TRUE(purse.reserve(2, go));
  const std::atomic<bool> stop = true;
  EXPECT_FALSE(purse.reserve(0, stop));  // does not wait for the open one
  Purse endless(std::nullopt, 0);
  EXPECT_TRUE(endless.reserve(1e9, go));
}

// One that must wait gets what the other gives back.
TEST(RemotePurse, WaitsForOpenRequests) {
  const std::atomic<bool> go = false;
  Purse purse(10.0, 0);
  ASSERT_TRUE(purse.reserve(8, go));
  bool lent = false;
  std::thread other([&] { lent = purse.reserve(8, go); });
  purse.settle(8, 1);
  other.join();
  EXPECT_TRUE(lent);
}

TEST(RemotePacer, SpreadsRequestsAndTokens) {
  Pacer requests(60, 0);
  EXPECT_EQ(requests.start(5, 100), 5);
  EXPECT_EQ(requests.start(5, 100), 6);
  EXPECT_EQ(requests.start(5.5, 100), 7);
  EXPECT_EQ(requests.start(20, 100), 20);
  Pacer tokens(6000, 600);
  EXPECT_EQ(tokens.start(0, 100), 0);
  EXPECT_EQ(tokens.start(0, 10), 10);
  EXPECT_EQ(tokens.start(0, 10), 11);
  Pacer none(0, 0);
  EXPECT_EQ(none.start(1, 1e9), 1);
  EXPECT_EQ(none.start(1, 1e9), 1);
}

}  // namespace
}  // namespace frugal::remote
