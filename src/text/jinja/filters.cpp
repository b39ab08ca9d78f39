// Filters, by Jinja2's names.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_set>

#include "core/error.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace frugal::jinja {
namespace {

using Run = Interpreter&;
using V = const Value&;
using A = const Arguments&;

bool flag(A a, size_t position, std::string_view name, bool absent = false) {
  const Value* v = a.find(position, name);
  return v ? v->truthy() : absent;
}

// "a.b.0" looked up step by step; what is undefined on the way becomes `absent`, when there is one.
Value by_path(Run run, V value, V path, const Value* absent = nullptr) {
  if (!path.is_text()) return run.item(value, path);
  Value v = value;
  const std::string dot = ".";
  for (const Text& part : split(path.text(), &dot, -1, false)) {
    const bool number =
        !part.bytes.empty() && part.bytes.size() < 10 &&
        std::all_of(part.bytes.begin(), part.bytes.end(), [](char c) { return c >= '0' && c <= '9'; });
    v = run.item(v, number ? Value(static_cast<int64_t>(std::stoi(part.bytes))) : Value(part));
    if (absent && v.is_undefined()) v = *absent;
  }
  return v;
}
Value by_attribute(Run run, V item, A a, size_t position) {
  const Value* attribute = a.find(position, "attribute");
  return attribute && !attribute->is_none() ? by_path(run, item, *attribute) : item;
}
Value folded(V v, bool case_sensitive) {
  return v.is_text() && !case_sensitive ? Value(change_case(v.text(), Case::lower)) : v;
}

Value length(Run, V v, A a) {
  a.accept(0);
  if (v.is_undefined()) return Value(int64_t{0});
  if (v.is_text()) return Value(static_cast<int64_t>(char_count(v.text().bytes)));
  if (v.is_list()) return Value(static_cast<int64_t>(v.list().items.size()));
  if (!v.is_dict() || v.is_namespace()) fail("object of type '{}' has no length", v.type_name());
  return Value(static_cast<int64_t>(v.dict().items.size()));
}
Value trim(Run run, V v, A a) {
  a.accept(1, {"chars"});
  const Value* chars = a.find(0, "chars");
  return run.make(
      strip(printed(v).text(), Side::both, chars && chars->is_text() ? &chars->text().bytes : nullptr));
}
template <Case how>
Value change(Run run, V v, A a) {
  a.accept(0);
  return run.make(change_case(printed(v).text(), how));
}
Value string(Run run, V v, A a) {
  a.accept(0);
  const Value text = printed(v);
  run.spend_bytes(text.text().bytes.size());
  return text;
}
Value escape(Run run, V v, A a) {
  a.accept(0);
  Text text = printed(v).text();
  run.spend_bytes(text.bytes.size() * 6);
  for (const auto& [from, to] :
       {std::pair("&", "&amp;"), {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}}) {
    text = replace(text, Text{from, {}}, Text{to, {}}, -1);
  }
  return run.make(std::move(text));
}
Value same(Run, V v, A) {
  return v;
}
Value default_value(Run, V v, A a) {
  a.accept(2, {"default_value", "boolean"});
  if (!v.is_undefined() && (v.truthy() || !flag(a, 1, "boolean"))) return v;
  const Value* value = a.find(0, "default_value");
  return value ? *value : Value("");
}
Value first(Run run, V v, A a) {
  a.accept(0);
  const auto items = run.iterate(v);
  return items.empty() ? Value(Undefined{"the first item of an empty sequence"}) : items.front();
}
Value last(Run run, V v, A a) {
  a.accept(0);
  const auto items = run.iterate(v);
  return items.empty() ? Value(Undefined{"the last item of an empty sequence"}) : items.back();
}
Value list(Run run, V v, A a) {
  a.accept(0);
  return run.make_list(run.iterate(v));
}
Value join(Run run, V v, A a) {
  a.accept(2, {"d", "attribute"});
  const Value* d = a.find(0, "d");
  const Text between = d ? printed(*d).text() : Text{};
  Text out;
  bool start = true;
  for (const Value& item : run.iterate(v)) {
    if (!start) append_text(out, between);
    start = false;
    const Value text = printed(by_attribute(run, item, a, 1));
    append_text(out, text.text());
    run.spend_bytes(between.bytes.size() + text.text().bytes.size());
  }
  return run.make(std::move(out));
}
Value replace_filter(Run run, V v, A a) {
  Arguments arguments = a;
  for (size_t i = 0; i < std::min<size_t>(2, a.positional.size()); ++i)
    arguments.positional[i] = printed(a.positional[i]);
  return call_method(run, printed(v), "replace", arguments);
}
Value reverse(Run run, V v, A a) {
  a.accept(0);
  std::vector<Value> items = run.iterate(v);
  std::reverse(items.begin(), items.end());
  if (!v.is_text()) return run.make_list(std::move(items));
  Text out;
  for (const Value& item : items) append_text(out, item.text());
  return run.make(std::move(out));
}

Value to_int(Run, V v, A a) {
  a.accept(2, {"default", "base"});
  const Value* absent = a.find(0, "default");
  const Value fallback = absent ? *absent : Value(int64_t{0});
  double real = 0;
  if (v.is_number()) {
    if (!v.is_real()) return Value(v.integer());
    real = v.real();
  } else if (v.is_text()) {
    const std::string text = strip(v.text(), Side::both, nullptr).bytes;
    const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const char* const end = text.data() + text.size();
    int64_t whole_number = 0;
    const Value* base = a.find(1, "base");
    const auto done =
        std::from_chars(begin, end, whole_number,
                        base ? static_cast<int>(std::clamp<int64_t>(whole(*base, "base"), 2, 36)) : 10);
    if (done.ec == std::errc() && done.ptr == end && begin != end) return Value(whole_number);
    const auto parsed = std::from_chars(begin, end, real);
    if (parsed.ec != std::errc() || parsed.ptr != end) return fallback;
  } else {
    return fallback;
  }
  return std::abs(real) < 9e18 ? Value(static_cast<int64_t>(real)) : fallback;
}
Value to_float(Run, V v, A a) {
  a.accept(1, {"default"});
  if (v.is_number()) return Value(v.real());
  if (v.is_text()) {
    const std::string text = strip(v.text(), Side::both, nullptr).bytes;
    double real = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), real);
    if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size()) return Value(real);
  }
  const Value* absent = a.find(0, "default");
  return absent ? *absent : Value(0.0);
}
Value absolute(Run, V v, A a) {
  a.accept(0);
  if (!v.is_number()) fail("bad operand type for abs(): '{}'", v.type_name());
  if (v.is_real()) return Value(std::abs(v.real()));
  if (v.integer() == INT64_MIN) fail("a whole number grows past 64 bits");
  return Value(std::abs(v.integer()));
}
Value round(Run, V v, A a) {
  a.accept(2, {"precision", "method"});
  const Value* digits = a.find(0, "precision");
  const Value* method = a.find(1, "method");
  const std::string how = method ? text_of(*method, "method").bytes : "common";
  if (!v.is_number()) fail("'{}' cannot be rounded", v.type_name());
  const auto precision =
      static_cast<double>(digits ? std::clamp<int64_t>(whole(*digits, "precision"), -300, 300) : 0);
  const double scale = std::pow(10.0, precision), x = v.real() * scale;
  if (how == "ceil") return Value(std::ceil(x) / scale);
  if (how == "floor") return Value(std::floor(x) / scale);
  if (how != "common") fail("method must be common, ceil or floor");
  if (v.is_int()) return precision >= 0 ? v : Value(static_cast<int64_t>(std::nearbyint(x) / scale));
  return Value(std::nearbyint(x) / scale);  // half to even, as Python
}

Value sort(Run run, V v, A a) {
  a.accept(3, {"reverse", "case_sensitive", "attribute"});
  const bool sensitive = flag(a, 1, "case_sensitive");
  std::vector<std::pair<Value, Value>> keyed;
  const Value* attribute = a.find(2, "attribute");
  const std::string comma = ",";
  std::vector<Text> paths;  // "a,b": by a, then by b
  if (attribute && attribute->is_text()) paths = split(attribute->text(), &comma, -1, false);
  for (const Value& item : run.iterate(v)) {
    std::vector<Value> key;
    for (const Text& path : paths) key.push_back(folded(by_path(run, item, Value(path)), sensitive));
    if (paths.empty()) key.push_back(folded(by_attribute(run, item, a, 2), sensitive));
    keyed.emplace_back(run.make_list(std::move(key)), item);
  }
  run.spend(static_cast<int64_t>(keyed.size()) * 16);
  const bool descending = flag(a, 0, "reverse");
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) {
    return descending ? compare(y.first, x.first) < 0 : compare(x.first, y.first) < 0;
  });
  std::vector<Value> items;
  for (auto& item : keyed) items.push_back(std::move(item.second));
  return run.make_list(std::move(items));
}
Value dictsort(Run run, V v, A a) {
  a.accept(3, {"case_sensitive", "by", "reverse"});
  const Value* by = a.find(1, "by");
  const size_t column = by && by->is_text() && by->text().bytes == "value" ? 1 : 0;
  const bool sensitive = flag(a, 0, "case_sensitive"), descending = flag(a, 2, "reverse");
  if (!v.is_dict()) fail("dictsort needs a dict, not '{}'", v.type_name());
  std::vector<Value> items = run.iterate(call_method(run, v, "items", {}));
  run.spend(static_cast<int64_t>(items.size()) * 16);
  const auto key = [&](const Value& item) { return folded(item.list().items[column], sensitive); };
  std::stable_sort(items.begin(), items.end(), [&](const Value& x, const Value& y) {
    return descending ? compare(key(y), key(x)) < 0 : compare(key(x), key(y)) < 0;
  });
  return run.make_list(std::move(items));
}
Value unique(Run run, V v, A a) {
  a.accept(2, {"case_sensitive", "attribute"});
  const bool sensitive = flag(a, 0, "case_sensitive");
  Dict seen;
  std::vector<Value> items;
  for (const Value& item : run.iterate(v)) {
    const Value key = folded(by_attribute(run, item, a, 1), sensitive);
    if (seen.find(key)) continue;
    seen.set(key, Value(true));
    items.push_back(item);
  }
  return run.make_list(std::move(items));
}
template <bool largest>
Value extreme(Run run, V v, A a) {
  a.accept(2, {"case_sensitive", "attribute"});
  const bool sensitive = flag(a, 0, "case_sensitive");
  const Value* best = nullptr;
  Value best_key;
  const std::vector<Value> items = run.iterate(v);
  for (const Value& item : items) {
    Value key = folded(by_attribute(run, item, a, 1), sensitive);
    if (best && (largest ? compare(key, best_key) <= 0 : compare(key, best_key) >= 0)) continue;
    best = &item;
    best_key = std::move(key);
  }
  return best ? *best : Value(Undefined{"an extreme of an empty sequence"});
}
Value sum(Run run, V v, A a) {
  a.accept(2, {"attribute", "start"});
  const Value* start = a.find(1, "start");
  Value total = start ? *start : Value(int64_t{0});
  for (const Value& item : run.iterate(v)) total = run.add(total, by_attribute(run, item, a, 0));
  return total;
}

Arguments without(A a, size_t count) {
  Arguments rest;
  rest.named = a.named;
  if (a.positional.size() > count) {
    rest.positional.assign(a.positional.begin() + static_cast<ptrdiff_t>(count), a.positional.end());
  }
  return rest;
}
Value map(Run run, V v, A a) {
  std::vector<Value> items;
  if (a.positional.empty()) {
    a.accept(0, {"attribute", "default"});
    const Value* absent = a.find(1, "default");
    const Value& attribute = a.required(0, "attribute");
    for (const Value& item : run.iterate(v)) items.push_back(by_path(run, item, attribute, absent));
  } else {
    const std::string& filter = text_of(a.positional[0], "a filter's name").bytes;
    const Arguments rest = without(a, 1);
    for (const Value& item : run.iterate(v)) items.push_back(run.apply_filter(filter, item, rest));
  }
  return run.make_list(std::move(items));
}
// select(test, ...), and selectattr(attribute, test, ...)
template <bool attribute, bool keep>
Value select(Run run, V v, A a) {
  constexpr size_t kTest = attribute ? 1 : 0;
  if (attribute && a.positional.empty()) fail("an attribute is needed");
  const bool tests = a.positional.size() > kTest;
  const Arguments rest = without(a, kTest + 1);
  std::vector<Value> items;
  for (const Value& item : run.iterate(v)) {
    const Value tested = attribute ? by_path(run, item, a.positional[0]) : item;
    const bool holds = tests
                           ? run.apply_test(text_of(a.positional[kTest], "a test's name").bytes, tested, rest)
                           : tested.truthy();
    if (holds == keep) items.push_back(item);
  }
  return run.make_list(std::move(items));
}
Value items(Run run, V v, A a) {
  a.accept(0);
  if (v.is_undefined()) return run.make_list({});
  if (!v.is_dict() || v.is_namespace()) fail("can only get item pairs from a mapping");
  return call_method(run, v, "items", {});
}
Value attr(Run run, V v, A a) {
  a.accept(1, {"name"});
  return run.attribute(v, text_of(a.required(0, "name"), "name").bytes);
}
Value batch(Run run, V v, A a) {
  a.accept(2, {"linecount", "fill_with"});
  const int64_t size = whole(a.required(0, "linecount"), "linecount");
  if (size < 1 || size > 100'000) fail("batches of {} items", size);
  const Value* fill = a.find(1, "fill_with");
  std::vector<Value> lines, line;
  for (const Value& item : run.iterate(v)) {
    if (static_cast<int64_t>(line.size()) == size) lines.push_back(run.make_list(std::exchange(line, {})));
    line.push_back(item);
  }
  if (!line.empty()) {
    while (fill && static_cast<int64_t>(line.size()) < size) line.push_back(*fill);
    lines.push_back(run.make_list(std::move(line)));
  }
  return run.make_list(std::move(lines));
}
Value indent(Run run, V v, A a) {
  a.accept(3, {"width", "first", "blank"});
  const Value* width = a.find(0, "width");
  const std::string by =
      width && width->is_text()
          ? width->text().bytes
          : std::string(static_cast<size_t>(std::clamp<int64_t>(width ? whole(*width, "width") : 4, 0, 1000)),
                        ' ');
  const bool first_too = flag(a, 1, "first"), blank_too = flag(a, 2, "blank");
  Text text = printed(v).text();
  text.bytes += '\n';  // Python's filter works on the lines of s + "\n"
  Text out;
  bool start = true;
  for (const Text& line : split_lines(text, false)) {
    if (!start) out.bytes += '\n';
    if (start ? first_too : (blank_too || !line.bytes.empty())) out.bytes += by;
    start = false;
    append_text(out, line);
    run.spend_bytes(by.size() + 1);
  }
  return run.make(std::move(out));
}
Value format(Run run, V v, A a) {
  a.accept(1000);
  bool input = has_input(v);
  for (const Value& value : a.positional) input |= has_input(value);
  return run.make(format_percent(text_of(v, "a format").bytes, a.positional), input);
}
Value wordcount(Run, V v, A a) {
  a.accept(0);
  return Value(static_cast<int64_t>(split(printed(v).text(), nullptr, -1, false).size()));
}
// The JSON of chat templates: not escaped for HTML, unlike Jinja's own filter.
Value tojson(Run run, V v, A a) {
  a.accept(4, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = flag(a, 0, "ensure_ascii");
  style.sort_keys = flag(a, 3, "sort_keys");
  if (const Value* width = a.find(1, "indent"); width && !width->is_none()) {
    style.indent = std::clamp<int64_t>(whole(*width, "indent"), 0, 100);
  }
  style.item_separator = style.indent ? "," : ", ";
  if (const Value* pair = a.find(2, "separators"); pair && !pair->is_none()) {
    if (!pair->is_list() || pair->list().items.size() != 2) fail("separators must be two strings");
    style.item_separator = text_of(pair->list().items[0], "a separator").bytes;
    style.key_separator = text_of(pair->list().items[1], "a separator").bytes;
  }
  return run.make(dump_json(v, style), has_input(v));
}

using Filter = Value (*)(Run, V, A);
struct Named {
  std::string_view name;
  Filter filter;
};
constexpr Named kFilters[] = {{"abs", absolute},
                              {"attr", attr},
                              {"batch", batch},
                              {"capitalize", change<Case::capitalize>},
                              {"count", length},
                              {"d", default_value},
                              {"default", default_value},
                              {"dictsort", dictsort},
                              {"e", escape},
                              {"escape", escape},
                              {"first", first},
                              {"float", to_float},
                              {"format", format},
                              {"indent", indent},
                              {"int", to_int},
                              {"items", items},
                              {"join", join},
                              {"last", last},
                              {"length", length},
                              {"list", list},
                              {"lower", change<Case::lower>},
                              {"map", map},
                              {"max", extreme<true>},
                              {"min", extreme<false>},
                              {"reject", select<false, false>},
                              {"rejectattr", select<true, false>},
                              {"replace", replace_filter},
                              {"reverse", reverse},
                              {"round", round},
                              {"safe", same},
                              {"select", select<false, true>},
                              {"selectattr", select<true, true>},
                              {"sort", sort},
                              {"string", string},
                              {"sum", sum},
                              {"title", change<Case::title_words>},
                              {"tojson", tojson},
                              {"trim", trim},
                              {"unique", unique},
                              {"upper", change<Case::upper>},
                              {"wordcount", wordcount}};

}  // namespace

Value Interpreter::apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  spend(1);
  for (const Named& f : kFilters) {
    if (f.name == name) return f.filter(*this, value, arguments);
  }
  fail("no filter named '{}'", name);
}

}  // namespace frugal::jinja
