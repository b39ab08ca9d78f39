#include "pipeline/toml.h"

// Bad input ("[=", "a=[}") breaks what toml++ asserts before it comes to the checks that refuse it. With
// NDEBUG defined the compiler may take these assertions for granted, without it they end the program: here
// they say nothing.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(condition) static_cast<void>(0)
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_UNRELEASED_FEATURES 0
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include <cmath>

#include "core/error.h"
#include "core/files.h"

namespace frugal {
namespace {

class Converter {
 public:
  Converter(std::string_view where, std::map<std::string, int>& lines) : where_(where), lines_(lines) {}

  Json table(const toml::table& source, const std::string& path) {
    // toml++ sorts keys; the order of the file is what people wrote, and errors name the first wrong key.
    std::vector<std::pair<uint32_t, std::string_view>> order;
    for (const auto& [key, value] : source) order.emplace_back(key.source().begin.line, key.str());
    std::sort(order.begin(), order.end());
    Json result = Json::object();
    for (const auto& [line, key] : order) {
      const std::string dotted = path.empty() ? std::string(key) : path + "." + std::string(key);
      lines_[dotted] = static_cast<int>(line);
      result[std::string(key)] = value(*source.get(key), dotted);
    }
    return result;
  }

  // `key` is empty for a value that stands alone.
  Json value(const toml::node& node, const std::string& key) {
    switch (node.type()) {
      case toml::node_type::table:
        return table(*node.as_table(), key);
      case toml::node_type::array: {
        Json list = Json::array();
        for (const toml::node& item : *node.as_array()) list.push_back(value(item, key));
        return list;
      }
      case toml::node_type::string:
        return node.as_string()->get();
      case toml::node_type::integer:
        return node.as_integer()->get();
      case toml::node_type::boolean:
        return node.as_boolean()->get();
      case toml::node_type::floating_point: {
        const double number = node.as_floating_point()->get();
        if (!std::isfinite(number)) refuse(node, key, "a number that is not finite");
        return number;
      }
      case toml::node_type::date:
      case toml::node_type::time:
      case toml::node_type::date_time:
        refuse(node, key, "a date or time; put it in quotes");
      case toml::node_type::none:
        break;
    }
    CHECK(false, "a TOML node without a type");
    return {};
  }

 private:
  [[noreturn]] void refuse(const toml::node& node, const std::string& key, const char* what) {
    if (key.empty()) fail_usage("{}: the value is {}", where_, what);
    fail_usage("{}:{}: '{}' is {}", where_, node.source().begin.line, key, what);
  }

  std::string_view where_;
  std::map<std::string, int>& lines_;
};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string key_text(const std::string& key) {
  const bool bare = !key.empty() && key.find_first_not_of(
                                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789_-") == std::string::npos;
  return bare ? key : quoted(key);
}

std::string value_text(const Json& value) {
  if (value.is_string()) return quoted(value.get<std::string>());
  if (value.is_array()) {
    std::string out = "[";
    for (const Json& item : value) out += (out.size() > 1 ? ", " : "") + value_text(item);
    return out + "]";
  }
  if (value.is_object()) {  // inside an array
    std::string out = "{";
    for (const auto& [key, item] : value.items()) {
      out += (out.size() > 1 ? ", " : " ") + key_text(key) + " = " + value_text(item);
    }
    return out + " }";
  }
  if (value.is_number_float()) {
    std::string out = fmt::format("{}", value.get<double>());
    return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
  }
  return to_text(value);
}

void write_table(const Json& object, const std::string& path, std::string& out) {
  for (const auto& [key, value] : object.items()) {
    if (!value.is_object() && !value.is_null()) out += key_text(key) + " = " + value_text(value) + "\n";
  }
  for (const auto& [key, value] : object.items()) {
    if (!value.is_object() || value.empty()) continue;
    const std::string name = path.empty() ? key_text(key) : path + "." + key_text(key);
    const bool plain = std::any_of(value.begin(), value.end(), [](const Json& v) { return !v.is_object(); });
    if (plain) out += (out.empty() ? "[" : "\n[") + name + "]\n";
    write_table(value, name, out);
  }
}

}  // namespace

TomlDocument parse_toml(std::string_view text, std::string_view where) {
  TomlDocument document;
  try {
    const toml::table table = toml::parse(text);
    document.values = Converter(where, document.lines).table(table, "");
  } catch (const toml::parse_error& error) {
    fail_usage("{}:{}: {}", where, error.source().begin.line, error.description());
  }
  return document;
}

TomlDocument read_toml_file(const std::filesystem::path& path) {
  return parse_toml(read_file(path), path.string());
}

Json parse_toml_value(std::string_view text, std::string_view where) {
  std::map<std::string, int> lines;
  try {
    const toml::table table = toml::parse("v = " + std::string(text));
    if (table.size() == 1) return Converter(where, lines).value(*table.get("v"), "");
  } catch (const toml::parse_error&) {
  }
  fail_usage("{}: '{}' is not a value; expected a number, true, false, \"text\" or [a list]", where, text);
}

std::string to_toml(const Json& object) {
  std::string out;
  write_table(object, "", out);
  return out;
}

}  // namespace frugal
