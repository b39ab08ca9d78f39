#include "cli/input.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace frugal::cli {

std::string read_standard_input() {
  std::string text;
  char buffer[1 << 16];
  size_t n = 0;
  while ((n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0) text.append(buffer, n);
  if (std::ferror(stdin)) fail("cannot read standard input: {}", std::strerror(errno));
  return text;
}

std::string text_or_input(const std::string& text) {
  return text == "-" ? read_standard_input() : text;
}

namespace {

std::vector<int32_t> read_list(const Json& list, const std::string& where) {
  std::vector<int32_t> ids;
  for (const Json& item : list) {
    const std::string place = fmt::format("{}: id {}", where, ids.size());
    // A number above int64's range parses as unsigned: both kinds are compared as they are.
    const bool whole = item.is_number_integer();
    const bool fits = whole && (item.is_number_unsigned()
                                    ? item.get<uint64_t>() <= uint64_t{std::numeric_limits<int32_t>::max()}
                                    : item.get<int64_t>() >= 0);
    if (!fits) fail("{} is {}; expected a token id", place, to_text(item).substr(0, 40));
    ids.push_back(item.get<int32_t>());
  }
  if (ids.empty()) fail("{}: no token ids", where);
  return ids;
}

}  // namespace

std::vector<std::vector<int32_t>> read_ids(const std::string& path) {
  const std::string where = path == "-" ? "standard input" : path;
  Json json = parse_json(path == "-" ? read_standard_input() : read_file(path), where);
  if (json.is_object() && json.contains("ids")) json = Json(json["ids"]);
  if (!json.is_array()) fail("{}: expected a list of token ids, or a list of such lists", where);
  if (json.empty()) fail("{}: no token ids", where);
  if (!json.front().is_array()) return {read_list(json, where)};
  std::vector<std::vector<int32_t>> lists;
  for (const Json& list : json) {
    const std::string place = fmt::format("{}: sequence {}", where, lists.size());
    if (!list.is_array()) fail("{} is {}; expected a list of token ids", place, to_text(list).substr(0, 40));
    lists.push_back(read_list(list, place));
  }
  return lists;
}

}  // namespace frugal::cli
