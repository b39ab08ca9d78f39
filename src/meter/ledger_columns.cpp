#include "meter/ledger_columns.h"

namespace frugal {
namespace {

// Calls one function per scalar field with the field's column name.
template <class F>
class ScalarVisitor : public FieldVisitor {
 public:
  explicit ScalarVisitor(F f) : f_(std::move(f)) {}
  void field(std::string_view name, bool& value, std::string_view) override {
    f_(prefix_ + std::string(name), value);
  }
  void field(std::string_view name, int64_t& value, std::string_view) override {
    f_(prefix_ + std::string(name), value);
  }
  void field(std::string_view name, double& value, std::string_view) override {
    f_(prefix_ + std::string(name), value);
  }
  void field(std::string_view name, std::string& value, std::string_view) override {
    f_(prefix_ + std::string(name), value);
  }
  void field(std::string_view name, std::vector<std::string>&, std::string_view) override { no_list(name); }
  void field(std::string_view name, std::vector<int64_t>&, std::string_view) override { no_list(name); }
  void field(std::string_view name, std::vector<double>&, std::string_view) override { no_list(name); }

 protected:
  bool begin(std::string_view name, std::string_view) override {
    prefix_ += std::string(name) + "_";
    return true;
  }
  void end() override { prefix_.erase(prefix_.rfind('_', prefix_.size() - 2) + 1); }
  Presence optional_field(std::string_view name, bool) override { no_list(name); }

 private:
  [[noreturn]] static void no_list(std::string_view name) {
    throw std::logic_error("a bill's field must be a plain value to be a column: " + std::string(name));
  }
  F f_;
  std::string prefix_;
};

std::string type_of(double) {
  return "REAL";
}
std::string type_of(int64_t) {
  return "INTEGER";
}
std::string type_of(bool) {
  return "INTEGER";
}
std::string type_of(const std::string&) {
  return "TEXT";
}

void bind_value(sqlite::Statement& s, double value) {
  s.bind(value);
}
void bind_value(sqlite::Statement& s, int64_t value) {
  s.bind(value);
}
void bind_value(sqlite::Statement& s, bool value) {
  s.bind(int64_t{value});
}
void bind_value(sqlite::Statement& s, const std::string& value) {
  s.bind(std::string_view(value));
}

void load_value(sqlite::Statement& s, double& value) {
  value = s.number();
}
void load_value(sqlite::Statement& s, int64_t& value) {
  value = s.integer();
}
void load_value(sqlite::Statement& s, bool& value) {
  value = s.integer() != 0;
}
void load_value(sqlite::Statement& s, std::string& value) {
  value = s.text();
}

}  // namespace

std::vector<Column> bill_columns() {
  std::vector<Column> columns;
  Bill bill;
  ScalarVisitor visitor([&](const std::string& name, const auto& value) {
    columns.push_back({name, type_of(value)});
  });
  bill.visit(visitor);
  return columns;
}

std::string bill_column_list(std::string_view format) {
  std::string list;
  for (const Column& column : bill_columns()) {
    list += (list.empty() ? "" : ", ") + fmt::format(fmt::runtime(format), column.name);
  }
  return list;
}

void bind_bill(sqlite::Statement& statement, const Bill& bill) {
  ScalarVisitor visitor([&](const std::string&, const auto& value) { bind_value(statement, value); });
  const_cast<Bill&>(bill).visit(visitor);  // a visitor may write; this one does not
}

void load_bill(sqlite::Statement& statement, Bill& bill) {
  ScalarVisitor visitor([&](const std::string&, auto& value) { load_value(statement, value); });
  bill.visit(visitor);
}

}  // namespace frugal
