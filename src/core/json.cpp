#include "core/json.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"

namespace frugal {

static void check_depth(std::string_view text, std::string_view where) {
  constexpr int kMaxDepth = 256;  // the parser is recursive in its destructor; hostile files nest without end
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) fail("{}: JSON nested deeper than {} levels", where, kMaxDepth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

Json parse_json(std::string_view text, std::string_view where) {
  check_depth(text, where);
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    std::string_view reason = error.what();
    if (const auto at = reason.find("] "); at != std::string_view::npos) reason.remove_prefix(at + 2);
    fail("{}: not valid JSON: {}", where, reason);
  }
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

std::string to_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void write_json_file(const std::filesystem::path& path, const Json& value) {
  write_file_atomically(path, to_text(value, 2) + "\n");
}

}  // namespace frugal
