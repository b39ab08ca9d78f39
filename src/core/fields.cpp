#include "core/fields.h"

#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"

namespace frugal {
namespace {

// Walks the struct and the JSON object together, noting which keys the struct knows.
class Reader : public FieldVisitor {
 public:
  Reader(const Json& json, const Locate& where, UnknownKeys unknown) : where_(where), unknown_(unknown) {
    enter(json, "");
  }

  void field(std::string_view name, bool& value, std::string_view) override {
    if (const Json* j = find(name)) {
      if (!j->is_boolean()) wrong(name, "true or false", *j);
      value = j->get<bool>();
    }
  }
  void field(std::string_view name, int64_t& value, std::string_view) override {
    if (const Json* j = find(name)) value = integer(name, *j);
  }
  void field(std::string_view name, double& value, std::string_view) override {
    if (const Json* j = find(name)) {
      if (!j->is_number()) wrong(name, "a number", *j);
      value = j->get<double>();
    }
  }
  void field(std::string_view name, std::string& value, std::string_view) override {
    if (const Json* j = find(name)) {
      if (!j->is_string()) wrong(name, "a string", *j);
      value = j->get<std::string>();
    }
  }
  void field(std::string_view name, std::vector<std::string>& value, std::string_view) override {
    list(name, value, [&](const Json& j) {
      if (!j.is_string()) wrong(name, "strings", j);
      return j.get<std::string>();
    });
  }
  void field(std::string_view name, std::vector<int64_t>& value, std::string_view) override {
    list(name, value, [&](const Json& j) { return integer(name, j); });
  }
  void field(std::string_view name, std::vector<double>& value, std::string_view) override {
    list(name, value, [&](const Json& j) {
      if (!j.is_number()) wrong(name, "numbers", j);
      return j.get<double>();
    });
  }

  void finish() {
    const Level& level = levels_.back();
    if (unknown_ == UnknownKeys::error && level.json != nullptr) {
      for (const auto& [key, value] : level.json->items()) {
        if (level.known.contains(key)) continue;
        const std::vector<std::string> names(level.known.begin(), level.known.end());
        const std::string_view near = nearest_name(key, names);
        if (!near.empty()) {
          fail_usage("{}: unknown key '{}{}'; did you mean '{}{}'?", where_(level.path + key), level.path,
                     key, level.path, near);
        }
        fail_usage("{}: unknown key '{}{}'; known here: {}", where_(level.path + key), level.path, key,
                   fmt::join(names, ", "));
      }
    }
    levels_.pop_back();
  }

 protected:
  bool begin(std::string_view name, std::string_view) override {
    const Json* j = find(name);
    if (j == nullptr) return false;
    if (!j->is_object()) wrong(name, "a table", *j);
    enter(*j, levels_.back().path + std::string(name) + ".");
    return true;
  }
  void end() override { finish(); }
  Presence optional_field(std::string_view name, bool) override {
    const Level& level = levels_.back();
    const auto it = level.json->find(std::string(name));
    if (it == level.json->end()) {
      levels_.back().known.insert(std::string(name));
      return Presence::unchanged;
    }
    if (it->is_null()) {
      levels_.back().known.insert(std::string(name));
      return Presence::absent;
    }
    return Presence::present;
  }

 private:
  struct Level {
    const Json* json;
    std::string path;
    std::set<std::string> known;
  };

  void enter(const Json& json, std::string path) {
    if (!json.is_object()) fail_usage("{}: expected an object with named values", where_(path));
    levels_.push_back({&json, std::move(path), {}});
  }
  const Json* find(std::string_view name) {
    Level& level = levels_.back();
    level.known.insert(std::string(name));
    const auto it = level.json->find(std::string(name));
    return it == level.json->end() ? nullptr : &*it;
  }
  template <class T, class F>
  void list(std::string_view name, std::vector<T>& value, F convert) {
    const Json* j = find(name);
    if (j == nullptr) return;
    value.clear();
    if (!j->is_array()) {  // a single value stands for a list of one
      value.push_back(convert(*j));
      return;
    }
    for (const auto& item : *j) value.push_back(convert(item));
  }
  int64_t integer(std::string_view name, const Json& j) {
    constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();
    if (j.is_number_unsigned() && j.get<uint64_t>() > kLargest) wrong(name, "a whole number of 64 bits", j);
    if (j.is_number_integer()) return j.get<int64_t>();
    if (j.is_number_float()) {  // 1e6 in a recipe
      const double x = j.get<double>();
      if (std::abs(x) < 9e15 && x == std::trunc(x)) return static_cast<int64_t>(x);
    }
    wrong(name, "a whole number", j);
  }
  [[noreturn]] void wrong(std::string_view name, std::string_view expected, const Json& found) {
    const std::string key = levels_.back().path + std::string(name);
    fail_usage("{}: '{}' should be {}, found {}", where_(key), key, expected, to_text(found));
  }

  const Locate& where_;
  UnknownKeys unknown_;
  std::vector<Level> levels_;
};

class Writer : public FieldVisitor {
 public:
  Writer() { stack_.push_back(Json::object()); }
  void field(std::string_view name, bool& value, std::string_view) override { put(name, value); }
  void field(std::string_view name, int64_t& value, std::string_view) override { put(name, value); }
  void field(std::string_view name, double& value, std::string_view) override { put(name, value); }
  void field(std::string_view name, std::string& value, std::string_view) override { put(name, value); }
  void field(std::string_view name, std::vector<std::string>& value, std::string_view) override {
    put(name, value);
  }
  void field(std::string_view name, std::vector<int64_t>& value, std::string_view) override {
    put(name, value);
  }
  void field(std::string_view name, std::vector<double>& value, std::string_view) override {
    put(name, value);
  }
  Json take() { return std::move(stack_.back()); }

 protected:
  bool begin(std::string_view name, std::string_view) override {
    stack_.push_back(Json::object());
    names_.emplace_back(name);
    return true;
  }
  void end() override {
    Json inner = std::move(stack_.back());
    stack_.pop_back();
    stack_.back()[names_.back()] = std::move(inner);
    names_.pop_back();
  }
  Presence optional_field(std::string_view, bool has_value) override {
    return has_value ? Presence::present : Presence::unchanged;
  }

 private:
  template <class T>
  void put(std::string_view name, const T& value) {
    stack_.back()[std::string(name)] = value;
  }
  std::vector<Json> stack_;
  std::vector<std::string> names_;
};

class Describer : public FieldVisitor {
 public:
  void field(std::string_view name, bool& value, std::string_view help) override {
    line(name, Json(value), help);
  }
  void field(std::string_view name, int64_t& value, std::string_view help) override {
    line(name, Json(value), help);
  }
  void field(std::string_view name, double& value, std::string_view help) override {
    line(name, Json(value), help);
  }
  void field(std::string_view name, std::string& value, std::string_view help) override {
    line(name, Json(value), help);
  }
  void field(std::string_view name, std::vector<std::string>& value, std::string_view help) override {
    line(name, Json(value), help);
  }
  void field(std::string_view name, std::vector<int64_t>& value, std::string_view help) override {
    line(name, Json(value), help);
  }
  void field(std::string_view name, std::vector<double>& value, std::string_view help) override {
    line(name, Json(value), help);
  }
  std::string text;

 protected:
  bool begin(std::string_view name, std::string_view) override {
    prefixes_.push_back(prefix() + std::string(name) + ".");
    return true;
  }
  void end() override { prefixes_.pop_back(); }
  Presence optional_field(std::string_view, bool has_value) override {
    unset_ = !has_value;
    return Presence::present;
  }

 private:
  std::string prefix() const { return prefixes_.empty() ? "" : prefixes_.back(); }
  void line(std::string_view name, const Json& value, std::string_view help) {
    text += fmt::format("  {:<32} {:<14} {}\n", prefix() + std::string(name),
                        std::exchange(unset_, false) ? "unset" : to_text(value), help);
  }
  std::vector<std::string> prefixes_;
  bool unset_ = false;  // the next line is of an absent optional
};

}  // namespace

namespace detail {

void read_fields(void* object, VisitFunction visit, const Json& json, const Locate& where,
                 UnknownKeys unknown) {
  Reader reader(json, where, unknown);
  visit(object, reader);
  reader.finish();
}

Json write_fields(void* object, VisitFunction visit) {
  Writer writer;
  visit(object, writer);
  return writer.take();
}

std::string describe_fields(void* object, VisitFunction visit) {
  Describer describer;
  visit(object, describer);
  return std::move(describer.text);
}

}  // namespace detail
}  // namespace frugal
