#include "hub/source.h"

#include <algorithm>

#include "core/error.h"
#include "net/url.h"

namespace frugal::hub {
namespace {

constexpr std::string_view kHub = "hf:";
constexpr const char* kExpected =
    "expected hf:OWNER/NAME, hf:OWNER/NAME@REVISION, hf:OWNER/NAME:FILE or an http(s) URL of one file";

bool is_name(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= 96 && text.front() != '.' && text.front() != '-' &&
         std::ranges::all_of(text, allowed) && text.find("..") == std::string_view::npos;
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void parse_hub(std::string_view rest, Source& out) {
  if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    out.pattern = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (out.pattern.empty()) fail_usage("{}: no file after the colon; {}", out.text, kExpected);
  }
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    out.revision = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!is_safe_path(out.revision)) fail_usage("{}: no such revision can be; {}", out.text, kExpected);
  }
  const size_t slash = rest.find('/');
  const bool named = slash == std::string_view::npos
                         ? is_name(rest)
                         : is_name(rest.substr(0, slash)) && is_name(rest.substr(slash + 1));
  if (!named) fail_usage("{}: no such model can be; {}", out.text, kExpected);
  out.repository = rest;
}

}  // namespace

Source parse_source(const std::string& text) {
  Source out;
  out.text = text;
  if (has_control(text)) fail_usage("the source holds control characters; {}", kExpected);
  if (text.starts_with(kHub)) {
    parse_hub(std::string_view(text).substr(kHub.size()), out);
    return out;
  }
  std::string scheme = text.substr(0, text.find("://"));
  for (char& c : scheme) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (scheme != "http" && scheme != "https") fail_usage("{}: {}", text, kExpected);
  if (net::origin_of(text).empty()) fail_usage("{}: not a URL; {}", net::without_query(text), kExpected);
  if (net::has_credentials(text)) {
    fail_usage("the URL holds a user name or password, which would be shown and kept; leave it out");
  }
  out.url = text;
  out.text = net::without_query(text);
  return out;
}

bool is_safe_path(std::string_view path) {
  constexpr size_t kLongest = 1024, kLongestPart = 200;
  if (path.empty() || path.size() > kLongest || has_control(path)) return false;
  if (path.find_first_of("\\:") != std::string_view::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part.front() == '.' || part.size() > kLongestPart) return false;
    if (part.ends_with(".part") || part.ends_with(".part.json")) return false;
    begin = end + 1;
  }
  return true;
}

// Iterative, with one point to fall back to: linear in practice, quadratic at worst.
bool matches(std::string_view pattern, std::string_view path) {
  size_t p = 0, i = 0, star = std::string_view::npos, resume = 0;
  while (i < path.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = i;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == path[i])) {
      ++p;
      ++i;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      i = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace frugal::hub
