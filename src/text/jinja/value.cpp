#include "text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/jinja/format.h"
#include "text/unicode.h"

namespace frugal::jinja {

namespace {

void check_depth(int depth) {
  if (depth > kMaxNesting) fail("values nested deeper than {} levels", kMaxNesting);
}

// A key as bytes: 1 and True are the same key, as in Python.
std::string key_of(const Value& key) {
  if (key.is_text()) return "s" + key.text().bytes;
  if (key.is_real() && key.real() != std::floor(key.real())) return "f" + real_to_text(key.real());
  if (key.is_number()) return "i" + real_to_text(key.real());
  if (key.is_none()) return "n";
  if (key.is_list() && key.list().tuple) return "t" + repr(key);
  fail("unhashable type: '{}'", key.type_name());
}

}  // namespace

Value Value::list(std::vector<Value> items, bool tuple) {
  List list{std::move(items), tuple};
  for (const Value& item : list.items) {
    list.depth = std::max(list.depth, item.depth() + 1);
    list.has_namespace |= item.has_namespace();
  }
  check_depth(list.depth);
  Value v;
  v.data_ = std::make_shared<const List>(std::move(list));
  return v;
}

bool Value::is_namespace() const {
  return is_dict() && dict().is_namespace;
}
int Value::depth() const {
  return is_list() ? list().depth : is_dict() ? dict().depth : 0;
}
bool Value::has_namespace() const {
  if (is_list()) return list().has_namespace;
  if (is_function() || is_loop()) return true;  // these may hold one
  return is_dict() && (dict().is_namespace || dict().has_namespace);
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return boolean();
  if (is_int()) return integer() != 0;
  if (is_real()) return real() != 0;
  if (is_text()) return !text().bytes.empty();
  if (is_list()) return !list().items.empty();
  if (is_dict()) return dict().is_namespace || !dict().items.empty();
  return true;
}

const char* Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_real()) return "float";
  if (is_text()) return "str";
  if (is_list()) return list().tuple ? "tuple" : "list";
  if (is_dict()) return dict().is_namespace ? "Namespace" : "dict";
  return is_loop() ? "LoopContext" : "function";
}

void Dict::set(const Value& key, Value value) {
  depth = std::max(depth, value.depth() + 1);
  check_depth(depth);
  if (is_namespace && value.has_namespace()) fail("a namespace cannot hold a namespace or a function");
  has_namespace |= value.has_namespace();
  const auto [found, inserted] = index.try_emplace(key_of(key), items.size());
  if (inserted)
    items.emplace_back(key, std::move(value));
  else
    items[found->second].second = std::move(value);
}

const Value* Dict::find(const Value& key) const {
  const auto found = index.find(key_of(key));
  return found == index.end() ? nullptr : &items[found->second].second;
}
const Value* Dict::find(std::string_view key) const {
  const auto found = index.find("s" + std::string(key));
  return found == index.end() ? nullptr : &items[found->second].second;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_real() || b.is_real() ? a.real() == b.real() : a.integer() == b.integer();
  }
  if (a.is_text() && b.is_text()) return a.text().bytes == b.text().bytes;
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_list() && b.is_list()) {
    const List &x = a.list(), &y = b.list();
    return x.tuple == y.tuple &&
           std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), equal);
  }
  if (a.is_dict() && b.is_dict()) {
    const Dict &x = a.dict(), &y = b.dict();
    if (&x == &y) return true;
    if (x.is_namespace || y.is_namespace || x.items.size() != y.items.size()) return false;
    return std::all_of(x.items.begin(), x.items.end(), [&](const auto& item) {
      const Value* other = y.find(item.first);
      return other && equal(item.second, *other);
    });
  }
  return a.is_function() && b.is_function() && &a.function() == &b.function();
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return a.real() < b.real() ? -1 : a.real() > b.real();
    return a.integer() < b.integer() ? -1 : a.integer() > b.integer();
  }
  if (a.is_text() && b.is_text()) return a.text().bytes.compare(b.text().bytes);
  if (a.is_list() && b.is_list() && a.list().tuple == b.list().tuple) {
    const auto &x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size();
  }
  fail("'{}' and '{}' cannot be ordered", a.type_name(), b.type_name());
}

bool has_input(const Value& v) {
  if (v.is_text()) return !v.text().input.empty();
  if (v.is_list()) return std::any_of(v.list().items.begin(), v.list().items.end(), has_input);
  if (!v.is_dict()) return false;
  const auto& items = v.dict().items;
  return std::any_of(items.begin(), items.end(),
                     [](const auto& item) { return has_input(item.first) || has_input(item.second); });
}

Value from_json(const Json& json, bool input) {
  switch (json.type()) {
    case Json::value_t::null:
      return Value(None{});
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(json.get<int64_t>());
    case Json::value_t::number_unsigned: {
      const auto v = json.get<uint64_t>();
      return v <= INT64_MAX ? Value(static_cast<int64_t>(v)) : Value(static_cast<double>(v));
    }
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(marked(json.get<std::string>(), input));
    case Json::value_t::array: {
      std::vector<Value> items;
      for (const Json& item : json) items.push_back(from_json(item, input));
      return Value::list(std::move(items));
    }
    case Json::value_t::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& [key, value] : json.items())
        dict->set(Value(marked(key, input)), from_json(value, input));
      return Value(std::move(dict));
    }
    default:
      fail("a JSON value of type {} cannot be given to a template", json.type_name());
  }
}

Text join_text(const Text& a, const Text& b) {
  Text out = a;
  append_text(out, b);
  return out;
}

void append_text(Text& out, const Text& more) {
  const size_t shift = out.bytes.size();
  out.bytes += more.bytes;
  for (const TextSpan& span : more.input) {
    if (!out.input.empty() && out.input.back().end == span.begin + shift)
      out.input.back().end = span.end + shift;
    else
      out.input.push_back({span.begin + shift, span.end + shift});
  }
}

Text slice_text(const Text& text, size_t begin, size_t end) {
  Text out{text.bytes.substr(begin, end - begin), {}};
  for (const TextSpan& span : text.input) {
    const size_t from = std::max(span.begin, begin), to = std::min(span.end, end);
    if (from < to) out.input.push_back({from - begin, to - begin});
  }
  return out;
}

Text marked(std::string bytes, bool input) {
  Text out{std::move(bytes), {}};
  if (input && !out.bytes.empty()) out.input.push_back({0, out.bytes.size()});
  return out;
}

Value printed(const Value& v) {
  return v.is_text() ? v : Value(marked(str(v), has_input(v)));
}

}  // namespace frugal::jinja
