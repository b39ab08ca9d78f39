// Who pays for what runs make for each other.
#include "core/error.h"
#include "meter/ledger.h"
#include "meter/ledger_columns.h"
#include "meter/sqlite.h"

namespace frugal {

using sqlite::Statement;
using sqlite::Transaction;

void Ledger::share_stage(int64_t stage, std::string_view key) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_.get(), path_);
  Statement(database_.get(), path_, "INSERT OR REPLACE INTO shared_stages (stage, key) VALUES (?, ?)")
      .bind(stage)
      .bind(key)
      .run();
  transaction.commit();
}

void Ledger::use(int64_t run, std::string_view key, double amount) {
  CHECK(amount >= 0);
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_.get(), path_);
  Statement(database_.get(), path_,
            "INSERT INTO uses (user, key, amount) VALUES (?, ?, ?)"
            " ON CONFLICT (user, key) DO UPDATE SET amount = amount + excluded.amount")
      .bind(run)
      .bind(key)
      .bind(amount)
      .run();
  transaction.commit();
}

std::map<int64_t, Share> Ledger::shares() const {
  std::map<std::string, std::map<int64_t, double>> uses;
  std::map<std::string, double> sums;
  {
    Statement rows(database_.get(), path_, "SELECT key, user, amount FROM uses WHERE amount > 0");
    while (rows.step()) {
      const std::string key = rows.text();
      const int64_t user = rows.integer();
      const double amount = rows.number();
      uses[key][user] = amount;
      sums[key] += amount;
    }
  }
  std::map<int64_t, Share> shares;
  Statement rows(database_.get(), path_,
                 fmt::format("SELECT key, run, {} FROM shared_stages JOIN stages ON stages.id = stage",
                             bill_column_list()));
  while (rows.step()) {
    const std::string key = rows.text();
    const int64_t maker = rows.integer();
    Bill bill;
    load_bill(rows, bill);
    const auto users = uses.find(key);
    if (users == uses.end()) continue;
    for (const auto& [user, amount] : users->second) {
      if (user == maker) continue;
      shares[user].add(bill, amount / sums[key]);
      shares[maker].add(bill, -amount / sums[key]);
    }
  }
  return shares;
}

}  // namespace frugal
