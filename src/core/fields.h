// The visitor: a struct lists its fields once, in `void visit(FieldVisitor& v)`, and JSON, recipe keys, help,
// printing and unknown-key errors follow.
//
//   struct Budget {
//     double minutes = 0;
//     void visit(FieldVisitor& v) { v.field("minutes", minutes, "wall-clock minutes of training"); }
//   };
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace frugal {

class FieldVisitor;
template <class T>
concept Visitable = requires(T& value, FieldVisitor& v) {
  value.visit(v);
};

class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void field(std::string_view name, bool& value, std::string_view help) = 0;
  virtual void field(std::string_view name, int64_t& value, std::string_view help) = 0;
  virtual void field(std::string_view name, double& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::string& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::vector<std::string>& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::vector<int64_t>& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::vector<double>& value, std::string_view help) = 0;

  template <Visitable T>
  void field(std::string_view name, T& value, std::string_view help) {
    if (begin(name, help)) {
      value.visit(*this);
      end();
    }
  }
  // Absent (JSON: no key or null) and present are different things.
  template <class T>
  void field(std::string_view name, std::optional<T>& value, std::string_view help) {
    const Presence presence = optional_field(name, value.has_value());
    if (presence == Presence::absent) {
      value.reset();
      return;
    }
    if (presence == Presence::unchanged && !value) return;
    if (!value) value.emplace();
    field(name, *value, help);
  }

 protected:
  enum class Presence { present, absent, unchanged };
  // Enters a nested struct; false skips it.
  virtual bool begin(std::string_view name, std::string_view help) = 0;
  virtual void end() = 0;
  virtual Presence optional_field(std::string_view name, bool has_value) = 0;
};

enum class UnknownKeys { error, ignore };
// Where a key stands, for errors: "recipe.toml:12" for "budget.minutes".
using Locate = std::function<std::string(std::string_view key)>;

namespace detail {
using VisitFunction = void (*)(void*, FieldVisitor&);
void read_fields(void* object, VisitFunction visit, const Json& json, const Locate& where,
                 UnknownKeys unknown);
Json write_fields(void* object, VisitFunction visit);
std::string describe_fields(void* object, VisitFunction visit);
template <class T>
void visit_as(void* object, FieldVisitor& v) {
  static_cast<T*>(object)->visit(v);
}
}  // namespace detail

// Fields whose key is absent keep their value. A wrong type, or an unknown key (with the nearest known one),
// is a UsageError that starts with `where`.
template <Visitable T>
void read_fields(T& object, const Json& json, std::string_view where,
                 UnknownKeys unknown = UnknownKeys::error) {
  detail::read_fields(
      &object, &detail::visit_as<T>, json, [&](std::string_view) { return std::string(where); }, unknown);
}
template <Visitable T>
void read_fields(T& object, const Json& json, const Locate& where, UnknownKeys unknown = UnknownKeys::error) {
  detail::read_fields(&object, &detail::visit_as<T>, json, where, unknown);
}
template <Visitable T>
auto write_fields(const T& object) {  // -> Json; include <nlohmann/json.hpp> to call it
  return detail::write_fields(const_cast<T*>(&object), &detail::visit_as<T>);
}
// "  budget.minutes   0    wall-clock minutes of training", a line per field, with the defaults of `object`.
template <Visitable T>
std::string describe_fields(const T& object) {
  return detail::describe_fields(const_cast<T*>(&object), &detail::visit_as<T>);
}

}  // namespace frugal
