// How Python writes values: str(), repr(), json.dumps() and the % operator.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/jinja/value.h"

namespace frugal::jinja {

std::string real_to_text(double v);  // Python's repr of a float
struct JsonStyle {
  std::optional<int64_t> indent;
  std::string item_separator, key_separator = ": ";
  bool sort_keys = false;
  bool ascii = false;
};
// json.dumps; Error for what JSON has no form for.
std::string dump_json(const Value& v, const JsonStyle& style);
// "%s is %d" % values
std::string format_percent(const std::string& format, const std::vector<Value>& values);

}  // namespace frugal::jinja
