// What `frugal pull` is given, and which names it may write.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace frugal::hub {

// hf:OWNER/NAME[@REVISION][:FILE], where FILE is a path or a pattern (* ? as in a shell), or the URL of one
// file.
struct Source {
  std::string text;  // as given, without a URL's query: it may hold a signature
  // Of a hub: "OWNER/NAME" (or a NAME alone, as old models have), revision, pattern.
  std::string repository, revision = "main", pattern;
  std::string url;  // of a file; empty for hubs
  bool is_url() const { return !url.empty(); }
};

// UsageError that says what was expected.
Source parse_source(const std::string& text);

// Whether a relative path that someone else chose may be created below a directory: no empty part, "." or
// "..", no control characters, backslashes or colons, parts of at most 200 bytes, not hidden, and nothing
// this program uses itself (*.part).
bool is_safe_path(std::string_view path);

// As in a shell, on whole paths; * also matches '/'. ** is *.
bool matches(std::string_view pattern, std::string_view path);

}  // namespace frugal::hub
