// Functions and tests of templates.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace frugal::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox

Value range_function(Interpreter& run, const Arguments& a) {
  a.accept(3);
  if (a.positional.empty()) fail("range() needs an argument");
  const bool one = a.positional.size() == 1;
  const int64_t start = one ? 0 : whole(a.positional[0], "range");
  const int64_t stop = whole(a.positional[one ? 0 : 1], "range");
  const int64_t step = a.positional.size() > 2 ? whole(a.positional[2], "range") : 1;
  if (step == 0) fail("range() step must not be zero");
  const double count =
      std::ceil((static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step));
  if (count > static_cast<double>(kMaxRange)) fail("range too big; at most {} items", kMaxRange);
  std::vector<Value> items;
  for (int64_t i = 0; i < static_cast<int64_t>(std::max(0.0, count)); ++i)
    items.emplace_back(start + i * step);
  run.spend(static_cast<int64_t>(items.size()));
  return run.make_list(std::move(items));
}

// namespace(a=1) and dict(a=1); both also take a dict to start from
Value dict_function(const Arguments& a, bool is_namespace) {
  if (a.positional.size() > 1) fail("at most one dict is taken");
  auto dict = std::make_shared<Dict>();
  dict->is_namespace = is_namespace;
  if (!a.positional.empty()) {
    if (!a.positional[0].is_dict()) fail("a dict is needed, not '{}'", a.positional[0].type_name());
    for (const auto& [key, value] : a.positional[0].dict().items) dict->set(key, value);
  }
  for (const auto& [key, value] : a.named) dict->set(Value(key), value);
  return Value(std::move(dict));
}

Value strftime_function(Interpreter& run, const Arguments& a) {
  a.accept(1, {"format"});
  const std::string& format = text_of(a.required(0, "format"), "format").bytes;
  if (format.size() > 256) fail("a time format of {} bytes", format.size());
  if (format.empty()) return run.make("", false);
  const std::tm now = run.clock()();
  char buffer[4096];
  // A space in front tells an empty result from one that did not fit.
  const size_t size = std::strftime(buffer, sizeof buffer, (" " + format).c_str(), &now);
  if (size == 0) fail("the time format gives more than {} bytes", sizeof buffer);
  return run.make(std::string(buffer + 1, size - 1), false);
}

constexpr std::array<std::string_view, 5> kFunctions = {"range", "namespace", "dict", "raise_exception",
                                                        "strftime_now"};

bool is_case(const Value& v, Case how) {
  const std::string text = str(v);
  return change_case(Text{text, {}}, how).bytes == text &&
         change_case(Text{text, {}}, how == Case::upper ? Case::lower : Case::upper).bytes != text;
}

using Test = bool (*)(Interpreter&, const Value&, const Arguments&);
const Value& other(const Arguments& a) {
  return a.required(0, "other");
}
int ordered(const Value& v, const Arguments& a) {
  if (v.is_undefined()) fail_undefined(v);
  return compare(v, other(a));
}
bool is_iterable(const Value& v) {
  return v.is_list() || v.is_text() || (v.is_dict() && !v.is_namespace()) || v.is_undefined();
}

struct NamedTest {
  std::string_view name;
  Test test;
};
constexpr NamedTest kTests[] = {
    {"defined", [](Interpreter&, const Value& v, const Arguments&) { return !v.is_undefined(); }},
    {"undefined", [](Interpreter&, const Value& v, const Arguments&) { return v.is_undefined(); }},
    {"none", [](Interpreter&, const Value& v, const Arguments&) { return v.is_none(); }},
    {"boolean", [](Interpreter&, const Value& v, const Arguments&) { return v.is_bool(); }},
    {"true", [](Interpreter&, const Value& v, const Arguments&) { return v.is_bool() && v.boolean(); }},
    {"false", [](Interpreter&, const Value& v, const Arguments&) { return v.is_bool() && !v.boolean(); }},
    {"integer", [](Interpreter&, const Value& v, const Arguments&) { return v.is_int(); }},
    {"float", [](Interpreter&, const Value& v, const Arguments&) { return v.is_real(); }},
    {"number", [](Interpreter&, const Value& v, const Arguments&) { return v.is_number(); }},
    {"string", [](Interpreter&, const Value& v, const Arguments&) { return v.is_text(); }},
    {"mapping",
     [](Interpreter&, const Value& v, const Arguments&) { return v.is_dict() && !v.is_namespace(); }},
    {"sequence", [](Interpreter&, const Value& v, const Arguments&) { return is_iterable(v); }},
    {"iterable", [](Interpreter&, const Value& v, const Arguments&) { return is_iterable(v); }},
    {"callable",
     [](Interpreter&, const Value& v, const Arguments&) { return v.is_function() || v.is_loop(); }},
    {"lower", [](Interpreter&, const Value& v, const Arguments&) { return is_case(v, Case::lower); }},
    {"upper", [](Interpreter&, const Value& v, const Arguments&) { return is_case(v, Case::upper); }},
    {"odd", [](Interpreter&, const Value& v, const Arguments&) { return whole(v, "odd") % 2 != 0; }},
    {"even", [](Interpreter&, const Value& v, const Arguments&) { return whole(v, "even") % 2 == 0; }},
    {"divisibleby",
     [](Interpreter&, const Value& v, const Arguments& a) {
       const int64_t by = whole(other(a), "divisibleby");
       if (by == 0) fail("division by zero");
       return by == -1 || whole(v, "divisibleby") % by == 0;
     }},
    {"in", [](Interpreter& run, const Value& v, const Arguments& a) { return run.contains(other(a), v); }},
    {"eq", [](Interpreter&, const Value& v, const Arguments& a) { return equal(v, other(a)); }},
    {"ne", [](Interpreter&, const Value& v, const Arguments& a) { return !equal(v, other(a)); }},
    {"lt", [](Interpreter&, const Value& v, const Arguments& a) { return ordered(v, a) < 0; }},
    {"le", [](Interpreter&, const Value& v, const Arguments& a) { return ordered(v, a) <= 0; }},
    {"gt", [](Interpreter&, const Value& v, const Arguments& a) { return ordered(v, a) > 0; }},
    {"ge", [](Interpreter&, const Value& v, const Arguments& a) { return ordered(v, a) >= 0; }},
    {"sameas",
     [](Interpreter&, const Value& v, const Arguments& a) {
       return v.is_number() ? v.type_name() == other(a).type_name() && equal(v, other(a))
                            : equal(v, other(a));
     }},
};
constexpr std::pair<std::string_view, std::string_view> kTestAliases[] = {
    {"==", "eq"}, {"equalto", "eq"}, {"!=", "ne"},          {"<", "lt"}, {"lessthan", "lt"},
    {"<=", "le"}, {">", "gt"},       {"greaterthan", "gt"}, {">=", "ge"}};

}  // namespace

bool has_function(const std::string& name) {
  return std::find(kFunctions.begin(), kFunctions.end(), name) != kFunctions.end();
}

Value call_function(Interpreter& run, const std::string& name, const Arguments& a) {
  if (name == "range") return range_function(run, a);
  if (name == "namespace") return dict_function(a, true);
  if (name == "dict") return dict_function(a, false);
  if (name == "strftime_now") return strftime_function(run, a);
  a.accept(1, {"message"});
  fail("the chat template refuses: {}", str(a.required(0, "message")));
}

bool Interpreter::apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  std::string_view wanted = name;
  for (const auto& [alias, canonical] : kTestAliases) {
    if (wanted == alias) wanted = canonical;
  }
  for (const NamedTest& t : kTests) {
    if (t.name == wanted) return t.test(*this, value, arguments);
  }
  fail("no test named '{}'", name);
}

}  // namespace frugal::jinja
