// JSON as nlohmann's ordered_json (keys keep their order, so files we write read as we wrote them). Include
// <nlohmann/json.hpp> only in the .cpp files that look inside a value.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace frugal {

using Json = nlohmann::ordered_json;

// Parses text; `where` names its origin in the error. Nesting deeper than 256 is an Error, as is anything
// malformed.
Json parse_json(std::string_view text, std::string_view where);
Json read_json_file(const std::filesystem::path& path);
// Pretty-printed with two spaces, written atomically (see files.h). Invalid UTF-8 in strings is replaced.
void write_json_file(const std::filesystem::path& path, const Json& value);
std::string to_text(const Json& value, int indent = -1);

}  // namespace frugal
