#include "meter/ledger.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <limits>
#include <map>
#include <set>

#include "core/error.h"
#include "meter/ledger_columns.h"
#include "meter/owner.h"
#include "meter/sqlite.h"

namespace frugal {
namespace {

using sqlite::Statement;
using sqlite::Transaction;

constexpr int64_t kApplication = 0x4652474c;  // "FRGL": marks the file as ours
constexpr int64_t kSchema = 1;                // raised only for changes that older programs would misread
constexpr int kBusyMilliseconds = 20'000;
constexpr double kSilence = 7 * 86400.0;  // a run of a machine we cannot ask, silent for so long, is over
constexpr std::array kStatuses = {RunStatus::running, RunStatus::done, RunStatus::failed,
                                  RunStatus::interrupted};

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

RunStatus status_from(const std::string& text, const std::string& path) {
  for (const RunStatus status : kStatuses) {
    if (to_string(status) == text) return status;
  }
  fail("{}: the ledger has a run of unknown status '{}'", path, text);
}

int64_t pragma(sqlite3* database, const std::string& path, std::string_view name) {
  Statement statement(database, path, fmt::format("PRAGMA {}", name));
  return statement.step() ? statement.integer() : 0;
}

// Columns that the file lacks, added by a newer Bill.
void add_missing_columns(sqlite3* database, const std::string& path, std::string_view table) {
  std::set<std::string> present;
  {
    Statement info(database, path, fmt::format("SELECT name FROM pragma_table_info('{}')", table));
    while (info.step()) present.insert(info.text());
  }
  for (const Column& column : bill_columns()) {
    if (present.contains(column.name)) continue;
    sqlite::execute(database, path,
                    fmt::format("ALTER TABLE {} ADD COLUMN {} {} NOT NULL DEFAULT {}", table, column.name,
                                column.type, column.type == "TEXT" ? "''" : "0"));
  }
}

void create_tables(sqlite3* database, const std::string& path) {
  for (const std::string& sql : {
           std::string("CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL,"
                       " recipe TEXT NOT NULL, output TEXT NOT NULL, model TEXT NOT NULL, host TEXT NOT NULL,"
                       " boot TEXT NOT NULL, process INTEGER NOT NULL, process_started INTEGER NOT NULL,"
                       " status TEXT NOT NULL, started REAL NOT NULL, updated REAL NOT NULL)"),
           std::string("CREATE TABLE stages (id INTEGER PRIMARY KEY AUTOINCREMENT,"
                       " run INTEGER NOT NULL REFERENCES runs(id), name TEXT NOT NULL, status TEXT NOT NULL,"
                       " started REAL NOT NULL, updated REAL NOT NULL)"),
           std::string("CREATE INDEX stages_of_run ON stages(run)"),
           fmt::format("PRAGMA application_id = {}", kApplication),
           fmt::format("PRAGMA user_version = {}", kSchema),
       }) {
    sqlite::execute(database, path, sql);
  }
}

// In files of older programs as well, which leave them alone.
void create_share_tables(sqlite3* database, const std::string& path) {
  sqlite::execute(database, path,
                  "CREATE TABLE IF NOT EXISTS shared_stages"
                  " (stage INTEGER PRIMARY KEY REFERENCES stages(id), key TEXT NOT NULL)");
  sqlite::execute(database, path,
                  "CREATE TABLE IF NOT EXISTS uses (user INTEGER NOT NULL REFERENCES runs(id),"
                  " key TEXT NOT NULL, amount REAL NOT NULL, PRIMARY KEY (user, key))");
}

std::string month_of(double unix_time) {
  const auto time = static_cast<std::time_t>(unix_time);
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1);
}

}  // namespace

std::string_view to_string(RunStatus status) {
  switch (status) {
    case RunStatus::running:
      return "running";
    case RunStatus::done:
      return "done";
    case RunStatus::failed:
      return "failed";
    case RunStatus::interrupted:
      return "interrupted";
  }
  return "unknown";
}

void Ledger::Close::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}

Ledger::Ledger(const fs::path& file, Open open) : path_(file.string()) {
  open_file(file, open);
  enter_wal();
  prepare_schema();
  mark_interrupted();
}

Ledger::~Ledger() = default;

void Ledger::open_file(const fs::path& file, Open open) {
  std::error_code error;
  if (open == Open::existing && !fs::exists(file, error)) fail("{}: no ledger there yet", path_);
  if (open == Open::create && file.has_parent_path()) make_directories(file.parent_path());
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path_.c_str(), &database,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  database_.reset(database);
  if (code != SQLITE_OK) sqlite::fail_with(database, path_);
  sqlite3_busy_timeout(database, kBusyMilliseconds);
  // SQLite opens what it may not write for reading, and would tell only at the first change.
  if (sqlite3_db_readonly(database, "main") == 1) {
    fail("{}: the ledger cannot be written: check the permissions of it and its folder", path_);
  }
}

void Ledger::enter_wal() {
  // Changing the mode may answer "busy" at once, without the waiting that other statements do.
  constexpr int kPauseMilliseconds = 25;
  for (int waited = 0;; waited += kPauseMilliseconds) {
    Statement statement(database_.get(), path_, "PRAGMA journal_mode = WAL");
    try {
      statement.run();
      break;
    } catch (const Error&) {
      if ((sqlite3_errcode(database_.get()) & 0xff) != SQLITE_BUSY || waited >= kBusyMilliseconds) throw;
    }
    sqlite3_sleep(kPauseMilliseconds);
  }
  // In this mode a killed process loses nothing; only a power cut may take the last commits, never the file.
  sqlite::execute(database_.get(), path_, "PRAGMA synchronous = NORMAL");
}

void Ledger::prepare_schema() {
  sqlite3* db = database_.get();
  Transaction transaction(db, path_);
  const int64_t application = pragma(db, path_, "application_id"), schema = pragma(db, path_, "user_version");
  if (application != kApplication) {
    Statement tables(db, path_, "SELECT count(*) FROM sqlite_master");
    if (application != 0 || schema != 0 || !tables.step() || tables.integer() != 0) {
      fail("{}: this is a database of another program, not a ledger", path_);
    }
  } else if (schema > kSchema) {
    fail("{}: the ledger has schema {}, written by a newer version; this one knows {}", path_, schema,
         kSchema);
  }
  if (application != kApplication) create_tables(db, path_);
  add_missing_columns(db, path_, "runs");
  add_missing_columns(db, path_, "stages");
  create_share_tables(db, path_);
  transaction.commit();
}

void Ledger::mark_interrupted() {
  sqlite3* db = database_.get();
  const Owner here = this_process();
  const double now = unix_now();
  Transaction transaction(db, path_);
  std::vector<int64_t> dead;
  {
    Statement rows(
        db, path_,
        "SELECT id, updated, host, boot, process, process_started FROM runs WHERE status = 'running'");
    while (rows.step()) {
      const int64_t id = rows.integer();
      const double updated = rows.number();
      Owner owner;
      owner.host = rows.text();
      owner.boot = rows.text();
      owner.process = rows.integer();
      owner.started = rows.integer();
      if (is_dead(owner, here) || (owner.host != here.host && now - updated > kSilence)) dead.push_back(id);
    }
  }
  for (const int64_t id : dead) {
    Statement(db, path_, "UPDATE runs SET status = 'interrupted' WHERE id = ?").bind(id).run();
    Statement(db, path_, "UPDATE stages SET status = 'interrupted' WHERE run = ? AND status = 'running'")
        .bind(id)
        .run();
  }
  transaction.commit();
}

int64_t Ledger::begin_run(const RunInfo& info) {
  const std::lock_guard lock(mutex_);
  const Owner owner = this_process();
  const double now = unix_now();
  Transaction transaction(database_.get(), path_);
  int64_t id = 0;
  {
    Statement insert(
        database_.get(), path_,
        "INSERT INTO runs (verb, recipe, output, model, host, boot, process, process_started, status,"
        " started, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'running', ?, ?) RETURNING id");
    insert.bind(std::string_view(info.verb)).bind(std::string_view(info.recipe));
    insert.bind(std::string_view(info.output)).bind(std::string_view(info.model));
    insert.bind(std::string_view(owner.host)).bind(std::string_view(owner.boot));
    insert.bind(owner.process).bind(owner.started).bind(now).bind(now);
    CHECK(insert.step());
    id = insert.integer();
    insert.run();
  }
  transaction.commit();
  return id;
}

void Ledger::change(std::string_view table, const Bill& bill, std::string_view status, int64_t id) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_.get(), path_);
  bool found = false;
  {
    Statement update(database_.get(), path_,
                     fmt::format("UPDATE {} SET updated = ?, status = ?, {} WHERE id = ? RETURNING id", table,
                                 bill_column_list("{} = ?")));
    update.bind(unix_now()).bind(status);
    bind_bill(update, bill);
    update.bind(id);
    found = update.step();
    update.run();
  }
  if (!found) fail("{}: the ledger has no row {} among its {} any more", path_, id, table);
  transaction.commit();
}

void Ledger::update_run(int64_t run, const Bill& bill) {
  change("runs", bill, to_string(RunStatus::running), run);
}

void Ledger::finish_run(int64_t run, RunStatus status, const Bill& bill) {
  change("runs", bill, to_string(status), run);
}

int64_t Ledger::begin_stage(int64_t run, std::string_view name) {
  const std::lock_guard lock(mutex_);
  const double now = unix_now();
  Transaction transaction(database_.get(), path_);
  int64_t id = 0;
  {
    Statement insert(database_.get(), path_,
                     "INSERT INTO stages (run, name, status, started, updated)"
                     " SELECT id, ?, 'running', ?, ? FROM runs WHERE id = ? RETURNING id");
    insert.bind(name).bind(now).bind(now).bind(run);
    if (!insert.step()) fail("{}: the ledger has no run {} any more", path_, run);
    id = insert.integer();
    insert.run();
  }
  transaction.commit();
  return id;
}

void Ledger::finish_stage(int64_t stage, RunStatus status, const Bill& bill) {
  change("stages", bill, to_string(status), stage);
}

std::vector<LedgerRun> Ledger::runs(const Filter& filter) const {
  const std::lock_guard lock(mutex_);
  Statement rows(database_.get(), path_,
                 fmt::format("SELECT id, verb, recipe, output, model, status, started, updated, {} FROM runs"
                             " WHERE (? = '' OR verb = ?) AND started >= ? AND started < ?"
                             " ORDER BY id DESC LIMIT ?",
                             bill_column_list()));
  constexpr double kEver = std::numeric_limits<double>::max();
  rows.bind(std::string_view(filter.verb)).bind(std::string_view(filter.verb));
  rows.bind(filter.since.value_or(-kEver)).bind(filter.until.value_or(kEver));
  rows.bind(filter.newest > 0 ? filter.newest : int64_t{-1});
  std::vector<LedgerRun> runs;
  while (rows.step()) {
    LedgerRun run;
    run.id = rows.integer();
    run.info.verb = rows.text();
    run.info.recipe = rows.text();
    run.info.output = rows.text();
    run.info.model = rows.text();
    run.status = status_from(rows.text(), path_);
    run.started = rows.number();
    run.updated = rows.number();
    load_bill(rows, run.bill);
    runs.push_back(std::move(run));
  }
  const std::map<int64_t, Share> shared = shares();
  for (LedgerRun& run : runs) {
    if (const auto found = shared.find(run.id); found != shared.end()) run.share = found->second;
  }
  std::reverse(runs.begin(), runs.end());
  return runs;
}

std::vector<LedgerStage> Ledger::stages(int64_t run) const {
  const std::lock_guard lock(mutex_);
  Statement rows(
      database_.get(), path_,
      fmt::format("SELECT id, run, name, status, started, {} FROM stages WHERE run = ? ORDER BY id",
                  bill_column_list()));
  rows.bind(run);
  std::vector<LedgerStage> stages;
  while (rows.step()) {
    LedgerStage stage;
    stage.id = rows.integer();
    stage.run = rows.integer();
    stage.name = rows.text();
    stage.status = status_from(rows.text(), path_);
    stage.started = rows.number();
    load_bill(rows, stage.bill);
    stages.push_back(std::move(stage));
  }
  return stages;
}

std::vector<LedgerTotal> Ledger::totals(GroupBy by, const Filter& filter) const {
  std::map<std::string, LedgerTotal> groups;
  for (const LedgerRun& run : runs(filter)) {
    const std::string key = by == GroupBy::month  ? month_of(run.started)
                            : by == GroupBy::verb ? run.info.verb
                                                  : std::string("all");
    LedgerTotal& total = groups[key];
    total.group = key;
    ++total.runs;
    total.bill.add(run.bill);
  }
  std::vector<LedgerTotal> totals;
  for (auto& [key, total] : groups) totals.push_back(std::move(total));
  return totals;
}

}  // namespace frugal
