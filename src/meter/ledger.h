// The ledger: what every run of this user cost, in one SQLite file. Many processes may write at once
// (write-ahead log, immediate transactions, waiting for each other), and a process killed at any moment
// leaves all it had written: its run is found dead and marked interrupted when the ledger is next opened,
// with the bill of its last update.
//
// What one run makes and others use (a teacher's cache) is paid by the run that makes it and charged to those
// that use it, in proportion to how much of it they use: every run has a bill, what it spent itself, and a
// share, what it takes over of others or, negative, passes on to them. Shares add up to nothing, so the sum
// of all charged bills is what was really spent. What nobody has used yet stays with its maker.
//
// The bill's columns are those of Bill's visitor; a field added there becomes a column when an old file is
// opened.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"
#include "meter/bill.h"

struct sqlite3;

namespace frugal {

enum class RunStatus { running, done, failed, interrupted };
std::string_view to_string(RunStatus status);

struct RunInfo {
  std::string verb;    // "train", "run", "generate", ...
  std::string recipe;  // its path, or empty
  std::string output;  // run directory, or empty
  std::string model;   // started from or used, or empty
};

struct LedgerStage {
  int64_t id = 0, run = 0;
  std::string name;
  RunStatus status = RunStatus::running;
  double started = 0;  // Unix time
  Bill bill;
};

struct LedgerRun {
  int64_t id = 0;
  RunInfo info;
  RunStatus status = RunStatus::running;
  double started = 0, updated = 0;  // Unix time
  Bill bill;                        // what it spent itself
  Share share;                      // of what runs make for each other
  Bill charged() const { return frugal::charged(bill, share); }
};

struct LedgerTotal {
  std::string group;  // "2026-05", "train", or "all"
  int64_t runs = 0;
  Bill bill;  // what the runs spent themselves
};

class Ledger {
 public:
  enum class Open { create, existing };
  // Error when the file is missing (Open::existing), corrupt, not a ledger, of a newer schema, or cannot be
  // written.
  explicit Ledger(const fs::path& file, Open open = Open::create);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Any of these may throw Error (full disk, lock held for longer than 20 s); a run should survive a failed
  // update. They may be called from any thread.
  int64_t begin_run(const RunInfo& info);
  void update_run(int64_t run,
                  const Bill& bill);  // a heartbeat, so that a killed run is billed nearly in full
  void finish_run(int64_t run, RunStatus status, const Bill& bill);
  int64_t begin_stage(int64_t run, std::string_view name);
  void finish_stage(int64_t stage, RunStatus status, const Bill& bill);
  // What the stage makes is used by all runs that use() the same key: its bill, once finished, is theirs.
  void share_stage(int64_t stage, std::string_view key);
  // The run has used so much more of it; the unit is the key's own (tokens).
  void use(int64_t run, std::string_view key, double amount);

  struct Filter {
    std::string verb;                    // empty: all
    std::optional<double> since, until;  // Unix time of the start, until exclusive
    int64_t newest = 0;                  // at most so many of the newest; 0: all
  };
  // Oldest first.
  std::vector<LedgerRun> runs(const Filter& filter) const;
  std::vector<LedgerRun> runs() const { return runs(Filter{}); }
  std::vector<LedgerStage> stages(int64_t run) const;
  enum class GroupBy { all, month, verb };  // months in UTC
  std::vector<LedgerTotal> totals(GroupBy by, const Filter& filter) const;

 private:
  void open_file(const fs::path& file, Open open);
  void enter_wal();
  void prepare_schema();
  void mark_interrupted();
  std::map<int64_t, Share> shares() const;  // by run, those that have one
  void change(std::string_view table, const Bill& bill, std::string_view status, int64_t id);

  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::string path_;
  mutable std::mutex mutex_;  // a connection has one transaction at a time
  std::unique_ptr<sqlite3, Close> database_;
};

// RFC 4180, a header line and a line per run. Energy, cost and CO2 as charged; columns share_* tell how much
// of them is a share.
std::string ledger_csv(const std::vector<LedgerRun>& runs);
// A list of objects, each with the run's stages. Energy, cost and CO2 as charged, "share" the part of them
// that is one; stages say what they spent themselves.
Json ledger_json(const Ledger& ledger, const std::vector<LedgerRun>& runs);

}  // namespace frugal
