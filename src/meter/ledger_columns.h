// Bill's fields as columns of the ledger: names, binding and loading, all from its one visitor. A nested
// field joins its path with '_' (joules.low is joules_low). Private to the module.
#pragma once

#include <string>
#include <vector>

#include "meter/bill.h"
#include "meter/sqlite.h"

namespace frugal {

struct Column {
  std::string name;
  std::string type;  // SQLite's: REAL, INTEGER or TEXT
};
std::vector<Column> bill_columns();
// "seconds, cpu_seconds, ..." after `format` is applied to each name ("{} = ?").
std::string bill_column_list(std::string_view format = "{}");

// Binds, or loads, all columns in order.
void bind_bill(sqlite::Statement& statement, const Bill& bill);
void load_bill(sqlite::Statement& statement, Bill& bill);

}  // namespace frugal
