// Filters of sequences and dicts.
#include <algorithm>

#include "core/error.h"
#include "text/jinja/filters.h"
#include "text/jinja/strings.h"

namespace frugal::jinja {
namespace {

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
Value reverse(Run run, V v, A a) {
  a.accept(0);
  std::vector<Value> items = run.iterate(v);
  std::reverse(items.begin(), items.end());
  if (!v.is_text()) return run.make_list(std::move(items));
  Text out;
  for (const Value& item : items) append_text(out, item.text());
  return run.make(std::move(out));
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
  if (!v.truthy()) return run.make_list({});  // none too
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
  if (!v.truthy()) return run.make_list({});  // none too
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

constexpr NamedFilter kSequenceFilters[] = {{"batch", batch},
                                            {"dictsort", dictsort},
                                            {"first", first},
                                            {"items", items},
                                            {"join", join},
                                            {"last", last},
                                            {"list", list},
                                            {"map", map},
                                            {"max", extreme<true>},
                                            {"min", extreme<false>},
                                            {"reject", select<false, false>},
                                            {"rejectattr", select<true, false>},
                                            {"reverse", reverse},
                                            {"select", select<false, true>},
                                            {"selectattr", select<true, true>},
                                            {"sort", sort},
                                            {"sum", sum},
                                            {"unique", unique}};

}  // namespace

std::span<const NamedFilter> sequence_filters() {
  return kSequenceFilters;
}

}  // namespace frugal::jinja
