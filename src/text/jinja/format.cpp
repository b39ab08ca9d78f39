#include "text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "text/unicode.h"

namespace frugal::jinja {
namespace {

std::string quote(const std::string& text) {
  const bool single = text.find('\'') == std::string::npos || text.find('"') != std::string::npos;
  const char mark = single ? '\'' : '"';
  std::string out(1, mark);
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const DecodedChar c = decode_utf8(p, end);
    const CharClass kind = c.code == kInvalidChar ? CharClass::other : char_classes()[c.code];
    if (*p == mark || *p == '\\')
      out += {'\\', *p};
    else if (*p == '\n')
      out += "\\n";
    else if (*p == '\r')
      out += "\\r";
    else if (*p == '\t')
      out += "\\t";
    else if (c.code == ' ' || (kind != CharClass::other && kind != CharClass::space))
      out.append(p, c.bytes);
    else if (c.code == kInvalidChar)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(*p));
    else if (c.code < 0x100)
      out += fmt::format("\\x{:02x}", c.code);
    else if (c.code < 0x10000)
      out += fmt::format("\\u{:04x}", c.code);
    else
      out += fmt::format("\\U{:08x}", c.code);
    p += c.bytes;
  }
  return out + mark;
}

template <class Items, class F>
std::string joined(const Items& items, F write) {
  std::string out;
  for (const auto& item : items) {
    if (!out.empty()) out += ", ";
    out += write(item);
  }
  return out;
}

void dump_string(const std::string& text, bool ascii, std::string& out) {
  out += '"';
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const DecodedChar c = decode_utf8(p, end);
    switch (c.code) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (c.code < 0x20 || (ascii && c.code >= 0x7F && c.code < 0x10000)) {
          out += fmt::format("\\u{:04x}", c.code);
        } else if (ascii && c.code >= 0x10000 && c.code != kInvalidChar) {
          const uint32_t rest = c.code - 0x10000;
          out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
        } else {
          out.append(p, c.bytes);
        }
    }
    p += c.bytes;
  }
  out += '"';
}

std::string json_key(const Value& key) {
  if (key.is_text()) return key.text().bytes;
  if (key.is_none()) return "null";
  if (key.is_bool()) return key.boolean() ? "true" : "false";
  if (key.is_int() || key.is_real()) return str(key);
  fail("a key of type '{}' cannot be JSON", key.type_name());
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}
  std::string run(const Value& v) {
    write(v, 1);
    return std::move(out_);
  }

 private:
  void new_line(int64_t level) {
    if (style_.indent) out_ += "\n" + std::string(static_cast<size_t>(*style_.indent * level), ' ');
  }
  void write(const Value& v, int64_t level) {
    if (v.is_none())
      out_ += "null";
    else if (v.is_bool())
      out_ += v.boolean() ? "true" : "false";
    else if (v.is_int())
      out_ += std::to_string(v.integer());
    else if (v.is_real())
      out_ += std::isnan(v.real())   ? "NaN"
              : std::isinf(v.real()) ? (v.real() < 0 ? "-Infinity" : "Infinity")
                                     : real_to_text(v.real());
    else if (v.is_text())
      dump_string(v.text().bytes, style_.ascii, out_);
    else if (v.is_list())
      write_list(v.list(), level);
    else if (v.is_dict() && !v.is_namespace())
      write_dict(v.dict(), level);
    else
      fail("Object of type {} is not JSON serializable", v.type_name());
  }
  void write_list(const List& list, int64_t level) {
    out_ += '[';
    bool first = true;
    for (const Value& item : list.items) {
      if (!first) out_ += style_.item_separator;
      first = false;
      new_line(level);
      write(item, level + 1);
    }
    if (!first) new_line(level - 1);
    out_ += ']';
  }
  void write_dict(const Dict& dict, int64_t level) {
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto* a, const auto* b) { return compare(a->first, b->first) < 0; });
    }
    out_ += '{';
    bool first = true;
    for (const auto* item : items) {
      if (!first) out_ += style_.item_separator;
      first = false;
      new_line(level);
      dump_string(json_key(item->first), style_.ascii, out_);
      out_ += style_.key_separator;
      write(item->second, level + 1);
    }
    if (!first) new_line(level - 1);
    out_ += '}';
  }
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

std::string real_to_text(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto done = std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::scientific);
  const std::string shortest(buffer, done.ptr);
  const int exponent = std::stoi(shortest.substr(shortest.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return shortest;  // Python writes 1e-05 and 1e+16 as to_chars does
  const auto plain = std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::fixed);
  std::string out(buffer, plain.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string repr(const Value& v) {
  if (v.is_text()) return quote(v.text().bytes);
  if (v.is_list()) {
    const std::string inside = joined(v.list().items, [](const Value& item) { return repr(item); });
    if (!v.list().tuple) return "[" + inside + "]";
    return "(" + inside + (v.list().items.size() == 1 ? ",)" : ")");
  }
  if (v.is_dict() && !v.is_namespace()) {
    const auto write = [](const auto& item) { return repr(item.first) + ": " + repr(item.second); };
    return "{" + joined(v.dict().items, write) + "}";
  }
  if (v.is_undefined()) return "Undefined";
  return str(v);
}

std::string str(const Value& v) {
  if (v.is_text()) return v.text().bytes;
  if (v.is_undefined()) return "";
  if (v.is_none()) return "None";
  if (v.is_bool()) return v.boolean() ? "True" : "False";
  if (v.is_int()) return std::to_string(v.integer());
  if (v.is_real()) return real_to_text(v.real());
  if (v.is_list() || (v.is_dict() && !v.is_namespace())) return repr(v);
  return fmt::format("<{}>", v.type_name());
}

std::string dump_json(const Value& v, const JsonStyle& style) {
  return JsonWriter(style).run(v);
}

std::string format_percent(const std::string& format, const std::vector<Value>& values) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    if (++i == format.size()) fail("incomplete format");
    if (format[i] == '%') {
      out += '%';
      continue;
    }
    int precision = -1;
    if (format[i] == '.') {
      precision = 0;
      for (++i; i < format.size() && format[i] >= '0' && format[i] <= '9' && precision < 100; ++i) {
        precision = precision * 10 + (format[i] - '0');
      }
    }
    if (next == values.size()) fail("not enough arguments for format string");
    const Value& v = values[next++];
    const char kind = i < format.size() ? format[i] : '\0';
    if (kind == 's')
      out += str(v);
    else if (kind == 'r')
      out += repr(v);
    else if ((kind == 'd' || kind == 'i') && v.is_number() && std::abs(v.real()) < 9e18) {
      out += std::to_string(v.is_real() ? static_cast<int64_t>(v.real()) : v.integer());
    } else if (kind == 'f' && v.is_number()) {
      out += fmt::format("{:.{}f}", v.real(), precision < 0 ? 6 : std::min(precision, 50));
    } else {
      fail("format %{} of a value of type '{}' is not supported", kind, v.type_name());
    }
  }
  if (next != values.size()) fail("not all arguments converted during string formatting");
  return out;
}

}  // namespace frugal::jinja
