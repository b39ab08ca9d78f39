// Filters of strings, numbers and any values; the lookup by name.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/strings.h"

namespace frugal::jinja {
namespace {

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
Value replace_filter(Run run, V v, A a) {
  Arguments arguments = a;
  for (size_t i = 0; i < std::min<size_t>(2, a.positional.size()); ++i)
    arguments.positional[i] = printed(a.positional[i]);
  return call_method(run, printed(v), "replace", arguments);
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

Value attr(Run run, V v, A a) {
  a.accept(1, {"name"});
  return run.attribute(v, text_of(a.required(0, "name"), "name").bytes);
}

constexpr NamedFilter kTextFilters[] = {{"abs", absolute},
                                        {"attr", attr},
                                        {"capitalize", change<Case::capitalize>},
                                        {"count", length},
                                        {"d", default_value},
                                        {"default", default_value},
                                        {"e", escape},
                                        {"escape", escape},
                                        {"float", to_float},
                                        {"format", format},
                                        {"indent", indent},
                                        {"int", to_int},
                                        {"length", length},
                                        {"lower", change<Case::lower>},
                                        {"replace", replace_filter},
                                        {"round", round},
                                        {"safe", same},
                                        {"string", string},
                                        {"title", change<Case::title_words>},
                                        {"tojson", tojson},
                                        {"trim", trim},
                                        {"upper", change<Case::upper>},
                                        {"wordcount", wordcount}};

}  // namespace

Value Interpreter::apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  spend(1);
  for (const auto filters : {std::span<const NamedFilter>(kTextFilters), sequence_filters()}) {
    for (const NamedFilter& f : filters) {
      if (f.name == name) return f.filter(*this, value, arguments);
    }
  }
  fail("no filter named '{}'", name);
}

}  // namespace frugal::jinja
