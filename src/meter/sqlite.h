// A thin layer over SQLite's C interface: statements that close themselves and errors that name the file.
// Private to the module.
#pragma once

#include <sqlite3.h>

#include <string>
#include <string_view>

#include "core/error.h"

namespace frugal::sqlite {

// What went wrong with the database at `path`, for people.
[[noreturn]] void fail_with(sqlite3* database, const std::string& path);

class Statement {
 public:
  Statement(sqlite3* database, const std::string& path, std::string_view sql);
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // Binds the next parameter.
  Statement& bind(int64_t value);
  Statement& bind(double value);
  Statement& bind(std::string_view value);
  // True when there is a row.
  bool step();
  void run() {
    while (step()) {
    }
  }
  // The next column of the row.
  int64_t integer() { return sqlite3_column_int64(statement_, column_++); }
  double number() { return sqlite3_column_double(statement_, column_++); }
  std::string text();

 private:
  void check(int code);
  sqlite3* database_;
  const std::string& path_;
  sqlite3_stmt* statement_ = nullptr;
  int parameter_ = 0, column_ = 0;
};

inline void execute(sqlite3* database, const std::string& path, std::string_view sql) {
  Statement(database, path, sql).run();
}

// BEGIN IMMEDIATE takes the write lock at once, so that waiting works: upgrading a read lock later could not
// wait.
class Transaction {
 public:
  Transaction(sqlite3* database, const std::string& path) : database_(database), path_(path) {
    execute(database, path, "BEGIN IMMEDIATE");
  }
  ~Transaction() {
    if (!committed_) sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit() {
    execute(database_, path_, "COMMIT");
    committed_ = true;
  }

 private:
  sqlite3* database_;
  const std::string& path_;
  bool committed_ = false;
};

}  // namespace frugal::sqlite
