// TOML in and out. Reading is toml++'s, behind toml.cpp; what comes out is JSON, so that the fields visitor
// reads recipes as it reads everything else.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/json.h"

namespace frugal {

struct TomlDocument {
  Json values = Json::object();      // tables as objects; keys in the file's order
  std::map<std::string, int> lines;  // where each dotted key stands, from 1
};

// UsageError that starts with "WHERE:LINE: " for what is not TOML. Dates and times, inf and nan are refused.
TomlDocument parse_toml(std::string_view text, std::string_view where);
// Of the file at `path`; Error when it cannot be read.
TomlDocument read_toml_file(const std::filesystem::path& path);
// One value as it would stand after "key = ": a number, true, "text", [a, list]. UsageError names `where`.
Json parse_toml_value(std::string_view text, std::string_view where);

// The object as TOML: plain values first, then a [table] for each nested object. Null is left out.
std::string to_toml(const Json& object);

}  // namespace frugal
