#include "meter/ledger.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "meter/temporary_directory.h"

namespace frugal {
namespace {

Bill bill_of(double seconds, double joules = 10) {
  Bill bill;
  bill.seconds = seconds;
  bill.tokens = static_cast<int64_t>(seconds) * 100;
  bill.joules = {joules, 2 * joules, false};
  bill.dollars = seconds / 1000;
  bill.energy_source = "model";
  return bill;
}

class LedgerTest : public testing::Test {
 protected:
  fs::path file() const { return dir_.path() / "share" / "ledger.sqlite"; }
  // Runs SQL on the file as another program would; the first value of the first row.
  std::string sql(const std::string& text) const {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open(file().c_str(), &database), SQLITE_OK);
    std::string out;
    const auto take = [](void* to, int, char** values, char**) {
      if (values[0] != nullptr) *static_cast<std::string*>(to) = values[0];
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(database, text.c_str(), take, &out, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    sqlite3_close(database);
    return out;
  }
  // Forks; the child runs `body` and exits 0, or 1 when it throws.
  template <class F>
  static pid_t in_child(F body) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    try {
      body();
      ::_exit(0);
    } catch (const std::exception& error) {
      ::write(2, error.what(), std::strlen(error.what()));
      ::_exit(1);
    }
  }
  static int wait_for(pid_t child) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
  TemporaryDirectory dir_;
};

TEST_F(LedgerTest, KeepsRunsAndStages) {
  {
    Ledger ledger(file());
    const int64_t run = ledger.begin_run({"train", "a.toml", "out/a", "nano"});
    EXPECT_EQ(ledger.runs()[0].status, RunStatus::running);
    const int64_t stage = ledger.begin_stage(run, "pretrain");
    ledger.update_run(run, bill_of(1));
    ledger.finish_stage(stage, RunStatus::done, bill_of(2));
    ledger.begin_stage(run, "evaluate");
    ledger.finish_run(run, RunStatus::done, bill_of(3));
    ledger.finish_run(ledger.begin_run({"generate", "", "", "it's \"x\"; DROP TABLE runs"}),
                      RunStatus::failed, bill_of(4));
  }
  const Ledger ledger(file(), Ledger::Open::existing);
  const auto runs = ledger.runs();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].info.verb, "train");
  EXPECT_EQ(runs[0].info.recipe, "a.toml");
  EXPECT_EQ(runs[0].info.output, "out/a");
  EXPECT_EQ(runs[0].status, RunStatus::done);
  EXPECT_EQ(bill_json(runs[0].bill), bill_json(bill_of(3)));
  EXPECT_GT(runs[0].started, 1.6e9);
  EXPECT_GE(runs[0].updated, runs[0].started);
  EXPECT_EQ(runs[1].info.model, "it's \"x\"; DROP TABLE runs");
  EXPECT_EQ(runs[1].status, RunStatus::failed);
  const auto stages = ledger.stages(runs[0].id);
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[0].name, "pretrain");
  EXPECT_EQ(bill_json(stages[0].bill), bill_json(bill_of(2)));
  EXPECT_EQ(stages[1].status, RunStatus::running);
}

TEST_F(LedgerTest, FiltersAndTotals) {
  Ledger ledger(file());
  for (int i = 1; i <= 3; ++i)
    ledger.finish_run(ledger.begin_run({"train", "", "", ""}), RunStatus::done, bill_of(i));
  ledger.finish_run(ledger.begin_run({"serve", "", "", ""}), RunStatus::done, bill_of(10));
  sql("UPDATE runs SET started = strftime('%s', '2026-03-31 23:59:59') WHERE id = 1");
  sql("UPDATE runs SET started = strftime('%s', '2026-04-01') WHERE id > 1");
  EXPECT_EQ(ledger.runs({.verb = "train"}).size(), 3u);
  EXPECT_EQ(ledger.runs({.newest = 2})[1].info.verb, "serve");
  EXPECT_EQ(ledger.runs({.newest = 2})[0].id, 3);
  const double april = ledger.runs()[1].started;
  EXPECT_EQ(ledger.runs({.since = april}).size(), 3u);
  EXPECT_EQ(ledger.runs({.until = april}).size(), 1u);

  const auto months = ledger.totals(Ledger::GroupBy::month, {});
  ASSERT_EQ(months.size(), 2u);
  EXPECT_EQ(months[0].group, "2026-03");
  EXPECT_EQ(months[1].group, "2026-04");
  EXPECT_EQ(months[1].runs, 3);
  EXPECT_EQ(months[1].bill.seconds, 15);
  const auto verbs = ledger.totals(Ledger::GroupBy::verb, {});
  ASSERT_EQ(verbs.size(), 2u);
  EXPECT_EQ(verbs[1].group, "train");
  EXPECT_EQ(verbs[1].bill.seconds, 6);
  EXPECT_EQ(verbs[1].bill.joules.high, 60);
  EXPECT_EQ(ledger.totals(Ledger::GroupBy::all, {.verb = "serve"})[0].bill.seconds, 10);
  EXPECT_TRUE(ledger.totals(Ledger::GroupBy::all, {.verb = "none"}).empty());
}

TEST_F(LedgerTest, Exports) {
  Ledger ledger(file());
  const int64_t run = ledger.begin_run({"train", "with,comma", "say \"hi\"\nthere", ""});
  ledger.finish_stage(ledger.begin_stage(run, "pretrain"), RunStatus::done, bill_of(1));
  ledger.finish_run(run, RunStatus::done, bill_of(2));
  const std::string csv = ledger_csv(ledger.runs());
  EXPECT_EQ(
      csv.substr(0, csv.find("\r\n")),
      "id,started,verb,status,recipe,output,model,seconds,cpu_seconds,flops,bytes,tokens,peak_memory_bytes,"
      "joules_low,joules_high,joules_measured,dollars,co2_g,energy_source,share_joules_low,share_joules_high,"
      "share_joules_measured,share_dollars,share_co2_g");
  EXPECT_NE(csv.find(",train,done,\"with,comma\",\"say \"\"hi\"\"\nthere\",,2.0,0.0,"), std::string::npos)
      << csv;
  EXPECT_TRUE(csv.ends_with(",10.0,20.0,false,0.002,0.0,model,0.0,0.0,false,0.0,0.0\r\n")) << csv;
  const Json json = ledger_json(ledger, ledger.runs());
  EXPECT_EQ(json[0]["joules"]["high"], 20);
  EXPECT_EQ(json[0]["stages"][0]["name"], "pretrain");
  EXPECT_EQ(json[0]["stages"][0]["seconds"], 1);
  EXPECT_EQ(json[0]["started"].get<std::string>().size(), 20u);
  EXPECT_EQ(to_text(ledger_json(ledger, {})), "[]");
}

TEST_F(LedgerTest, ProcessesWriteAtOnceAndOneIsKilled) {
  constexpr int kProcesses = 5, kRuns = 12;
  std::vector<pid_t> writers;
  for (int p = 0; p < kProcesses; ++p) {  // all create the file, in a race
    writers.push_back(in_child([&] {
      Ledger ledger(file());
      for (int i = 0; i < kRuns; ++i) {
        const int64_t run = ledger.begin_run({"train", fmt::format("{}.toml", p), "", ""});
        const int64_t stage = ledger.begin_stage(run, "stage");
        ledger.update_run(run, bill_of(1));
        ledger.finish_stage(stage, RunStatus::done, bill_of(2));
        ledger.finish_run(run, RunStatus::done, bill_of(2));
      }
    }));
  }
  const pid_t victim = in_child([&] {
    Ledger ledger(file());
    const int64_t run = ledger.begin_run({"victim", "", "", ""});
    ledger.begin_stage(run, "stage");
    for (;;) ledger.update_run(run, bill_of(7));
  });
  for (;;) {  // until its first update is in
    ::usleep(5000);
    const auto seen = Ledger(file()).runs({.verb = "victim"});
    if (!seen.empty() && seen[0].bill.seconds == 7) break;
  }
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  EXPECT_TRUE(WIFSIGNALED(wait_for(victim)));
  for (const pid_t writer : writers) EXPECT_EQ(wait_for(writer), 0);

  const Ledger ledger(file());
  EXPECT_EQ(sql("PRAGMA integrity_check"), "ok");
  const auto runs = ledger.runs({.verb = "train"});
  EXPECT_EQ(runs.size(), static_cast<size_t>(kProcesses * kRuns));
  for (const auto& run : runs) {
    EXPECT_EQ(run.status, RunStatus::done);
    EXPECT_EQ(run.bill.seconds, 2);
    EXPECT_EQ(ledger.stages(run.id).size(), 1u);
  }
  const auto killed = ledger.runs({.verb = "victim"});
  ASSERT_EQ(killed.size(), 1u);
  EXPECT_EQ(killed[0].status, RunStatus::interrupted);
  EXPECT_EQ(killed[0].bill.seconds, 7);
  EXPECT_EQ(ledger.stages(killed[0].id)[0].status, RunStatus::interrupted);
}

TEST_F(LedgerTest, KilledAtAnyMomentItStaysWhole) {
  for (int attempt = 0; attempt < 12; ++attempt) {
    const pid_t victim = in_child([&] {
      Ledger ledger(file());
      for (;;) ledger.finish_run(ledger.begin_run({"victim", "", "", ""}), RunStatus::done, bill_of(1));
    });
    ::usleep(static_cast<useconds_t>(1000 + 2500 * attempt));
    ::kill(victim, SIGKILL);
    wait_for(victim);
    Ledger ledger(file());
    EXPECT_EQ(sql("PRAGMA integrity_check"), "ok");
    for (const auto& run : ledger.runs()) EXPECT_NE(run.status, RunStatus::running);
  }
}

TEST_F(LedgerTest, OnlyTheDeadAreInterrupted) {
  Ledger ledger(file());
  const int64_t mine = ledger.begin_run({"train", "", "", ""});
  const int64_t elsewhere = ledger.begin_run({"train", "", "", ""});
  const int64_t silent = ledger.begin_run({"train", "", "", ""});
  const int64_t before_boot = ledger.begin_run({"train", "", "", ""});
  const int64_t reused = ledger.begin_run({"train", "", "", ""});
  sql(fmt::format("UPDATE runs SET host = 'other' WHERE id IN ({}, {})", elsewhere, silent));
  sql(fmt::format("UPDATE runs SET updated = updated - 8 * 86400 WHERE id IN ({}, {})", silent, mine));
  sql(fmt::format("UPDATE runs SET boot = 'earlier' WHERE id = {}", before_boot));
  sql(fmt::format("UPDATE runs SET process_started = process_started - 1 WHERE id = {}", reused));
  const auto runs = Ledger(file()).runs();
  ASSERT_EQ(runs.size(), 5u);
  EXPECT_EQ(runs[0].status, RunStatus::running);
  EXPECT_EQ(runs[1].status, RunStatus::running);
  EXPECT_EQ(runs[2].status, RunStatus::interrupted);
  EXPECT_EQ(runs[3].status, RunStatus::interrupted);
  EXPECT_EQ(runs[4].status, RunStatus::interrupted);
  ledger.finish_run(elsewhere, RunStatus::done, bill_of(1));  // a wrong guess is put right by the run itself
  EXPECT_EQ(ledger.runs()[1].status, RunStatus::done);
}

TEST_F(LedgerTest, ThreadsShareOne) {
  Ledger ledger(file());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        ledger.finish_run(ledger.begin_run({"train", "", "", ""}), RunStatus::done, bill_of(1));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(ledger.runs().size(), 20u);
}

// A teacher's cache, made by two processes and used by three, one of them the maker; another that nobody
// uses.
TEST_F(LedgerTest, WhatRunsShareIsChargedByUseAndCountedOnce) {
  Ledger ledger(file());
  std::vector<int64_t> runs;
  for (int i = 0; i < 5; ++i) runs.push_back(ledger.begin_run({"distill", "", "", ""}));
  const auto make = [&](int64_t run, std::string_view key, double seconds, double joules) {
    const int64_t stage = ledger.begin_stage(run, "teacher");
    ledger.share_stage(stage, key);
    EXPECT_TRUE(ledger.runs()[0].share.empty());  // not finished yet
    ledger.finish_stage(stage, RunStatus::done, bill_of(seconds, joules));
  };
  make(runs[0], "cache", 1, 30);
  make(runs[1], "cache", 3, 90);
  make(runs[0], "unused", 2, 7);
  const double spent[] = {50, 100, 20, 10, 5};
  for (size_t i = 0; i < 5; ++i) ledger.finish_run(runs[i], RunStatus::done, bill_of(10, spent[i]));
  EXPECT_EQ(ledger.runs()[0].charged().joules.low, 50);  // nobody has used anything
  ledger.use(runs[1], "cache", 600);
  ledger.use(runs[2], "cache", 100);
  ledger.use(runs[2], "cache", 200);
  ledger.use(runs[3], "cache", 300);
  ledger.use(runs[4], "elsewhere", 100);  // made under another ledger
  const double expected[] = {50 - 30, 100 - 90 + 60, 20 + 30, 10 + 30, 5};
  const auto all = ledger.runs();
  double charged = 0, dollars = 0, shared = 0;
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(all[i].charged().joules.low, expected[i], 1e-9) << i;
    EXPECT_NEAR(all[i].charged().joules.high, 2 * expected[i], 1e-9) << i;
    EXPECT_EQ(all[i].charged().seconds, 10);
    EXPECT_EQ(all[i].bill.joules.low, spent[i]);
    charged += all[i].charged().joules.low;
    dollars += all[i].charged().dollars;
    shared += all[i].share.dollars;
  }
  const LedgerTotal total = ledger.totals(Ledger::GroupBy::all, {})[0];
  EXPECT_NEAR(charged, total.bill.joules.low, 1e-9);
  EXPECT_NEAR(dollars, total.bill.dollars, 1e-12);
  EXPECT_NEAR(shared, 0, 1e-12);
  EXPECT_NEAR(total.bill.joules.low, 185, 1e-9);
  // A filter changes what is shown, not who pays.
  EXPECT_NEAR(ledger.runs({.newest = 3})[0].charged().joules.low, 50, 1e-9);
  const Json json = ledger_json(ledger, all);
  EXPECT_NEAR(json[2]["joules"]["low"].get<double>(), 50, 1e-9);
  EXPECT_NEAR(json[2]["share"]["joules"]["low"].get<double>(), 30, 1e-9);
  EXPECT_EQ(json[1]["stages"][0]["joules"]["low"], 90);
}

TEST_F(LedgerTest, OldFilesGainNewColumns) {
  {
    Ledger ledger(file());
    ledger.finish_run(ledger.begin_run({"train", "", "", ""}), RunStatus::done, bill_of(5));
  }
  sql("ALTER TABLE runs DROP COLUMN co2_g; ALTER TABLE runs DROP COLUMN energy_source;"
      "ALTER TABLE stages DROP COLUMN flops; ALTER TABLE runs ADD COLUMN from_the_future REAL;"
      "DROP TABLE uses; DROP TABLE shared_stages");
  Ledger ledger(file());
  EXPECT_EQ(ledger.runs()[0].bill.seconds, 5);
  EXPECT_EQ(ledger.runs()[0].bill.energy_source, "");
  const int64_t run = ledger.begin_run({"train", "", "", ""});
  ledger.share_stage(ledger.begin_stage(run, "x"), "k");
  ledger.use(run, "k", 1);
  EXPECT_EQ(ledger.runs().size(), 2u);
}

TEST_F(LedgerTest, BadFiles) {
  EXPECT_NE(error_of([&] { Ledger(file(), Ledger::Open::existing); }).find("no ledger"), std::string::npos);
  EXPECT_FALSE(fs::exists(file()));
  make_directories(file().parent_path());
  write_file_atomically(file(), std::string(5000, 'x'));
  const std::string text = error_of([&] { Ledger ledger(file()); });
  EXPECT_NE(text.find(file().string()), std::string::npos);
  EXPECT_NE(text.find("no SQLite database"), std::string::npos);
  EXPECT_EQ(read_file(file()), std::string(5000, 'x'));  // left as it was

  fs::remove(file());
  make_directories(file());
  EXPECT_NE(error_of([&] { Ledger ledger(file()); }).find("cannot be opened"), std::string::npos);
  fs::remove(file());

  sql("CREATE TABLE theirs (x)");
  EXPECT_NE(error_of([&] { Ledger ledger(file()); }).find("another program"), std::string::npos);
  fs::remove(file());

  { Ledger ledger(file()); }
  sql("PRAGMA user_version = 99");
  EXPECT_NE(error_of([&] { Ledger ledger(file()); }).find("schema 99"), std::string::npos);
  sql("PRAGMA user_version = 1");

  write_file_atomically(dir_.path() / "file", "");
  EXPECT_THROW(Ledger(dir_.path() / "file" / "ledger.sqlite"), Error);
}

TEST_F(LedgerTest, DamagedPagesAreAnError) {
  {
    Ledger ledger(file());
    for (int i = 0; i < 200; ++i)
      ledger.begin_stage(ledger.begin_run({"train", std::string(300, 'r'), "", ""}), "s");
  }
  sql("PRAGMA wal_checkpoint(TRUNCATE)");
  std::string content = read_file(file());
  ASSERT_GT(content.size(), 40000u);
  for (size_t i = 4096; i < content.size(); ++i) content[i] = static_cast<char>(i * 37);
  write_file_atomically(file(), content);
  const std::string text = error_of([&] { Ledger(file()).runs(); });
  EXPECT_NE(text.find("damaged"), std::string::npos) << text;
}

TEST_F(LedgerTest, UnknownStatusAndVanishedRows) {
  Ledger ledger(file());
  const int64_t run = ledger.begin_run({"train", "", "", ""});
  sql("UPDATE runs SET status = 'dancing'");
  EXPECT_NE(error_of([&] { ledger.runs(); }).find("dancing"), std::string::npos);
  sql("DELETE FROM runs");
  EXPECT_THROW(ledger.update_run(run, bill_of(1)), Error);
  EXPECT_THROW(ledger.begin_stage(run, "x"), Error);
  EXPECT_THROW(ledger.finish_stage(77, RunStatus::done, bill_of(1)), Error);
}

TEST_F(LedgerTest, ReadOnlyFileAndFolder) {
  { Ledger ledger(file()); }
  fs::permissions(
      file(), fs::perms::all & ~fs::perms::owner_write & ~fs::perms::group_write & ~fs::perms::others_write);
  const auto refused = [&](const fs::path& path) {
    return wait_for(in_child([&] {  // root may write everything, so try as nobody
      if (::geteuid() == 0 && ::seteuid(65534) != 0) fail("cannot become nobody");
      std::string text;
      try {
        Ledger ledger(path);
      } catch (const Error& error) {
        text = error.what();
      }
      if (text.find(path.parent_path().string()) == std::string::npos) fail("not refused: '{}'", text);
    }));
  };
  EXPECT_EQ(refused(file()), 0);
  fs::permissions(file().parent_path(), fs::perms::owner_read | fs::perms::owner_exec |
                                            fs::perms::others_read | fs::perms::others_exec);
  EXPECT_EQ(refused(file().parent_path() / "new.sqlite"), 0);
  fs::permissions(file().parent_path(), fs::perms::owner_all);
}

}  // namespace
}  // namespace frugal
