#include "meter/sqlite.h"

namespace frugal::sqlite {

void fail_with(sqlite3* database, const std::string& path) {
  const int code = database == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database) & 0xff;
  const std::string why = database == nullptr ? "out of memory" : sqlite3_errmsg(database);
  switch (code) {
    case SQLITE_NOTADB:
      fail("{}: the ledger is no SQLite database; move it away to start a new one", path);
    case SQLITE_CORRUPT:
      fail(
          "{}: the ledger is damaged ({}); `sqlite3 FILE .recover` may save its rows, moving it away starts "
          "a new one",
          path, why);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      fail("{}: the ledger cannot be written: {}; check the permissions of it and its folder", path, why);
    case SQLITE_CANTOPEN:
      fail("{}: the ledger cannot be opened: check that its folder exists and can be written", path);
    case SQLITE_FULL:
      fail("{}: the ledger cannot be written: the disk is full", path);
    case SQLITE_BUSY:
      fail("{}: the ledger is locked by another program for too long", path);
    default:
      fail("{}: the ledger failed: {}", path, why);
  }
}

Statement::Statement(sqlite3* database, const std::string& path, std::string_view sql)
    : database_(database), path_(path) {
  check(sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr));
}

void Statement::check(int code) {
  if (code != SQLITE_OK) fail_with(database_, path_);
}

Statement& Statement::bind(int64_t value) {
  check(sqlite3_bind_int64(statement_, ++parameter_, value));
  return *this;
}

Statement& Statement::bind(double value) {
  check(sqlite3_bind_double(statement_, ++parameter_, value));
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  check(sqlite3_bind_text64(statement_, ++parameter_, value.data(), value.size(), SQLITE_TRANSIENT,
                            SQLITE_UTF8));
  return *this;
}

bool Statement::step() {
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) fail_with(database_, path_);
  return code == SQLITE_ROW;
}

std::string Statement::text() {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column_));
  const int size = sqlite3_column_bytes(statement_, column_++);
  return data == nullptr ? std::string() : std::string(data, static_cast<size_t>(size));
}

}  // namespace frugal::sqlite
