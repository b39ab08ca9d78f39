#include "hub/source.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "core/error.h"

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

struct Url {
  std::unique_ptr<CURLU, void (*)(CURLU*)> handle{curl_url(), &curl_url_cleanup};
  bool valid = false;
  explicit Url(const std::string& text) {
    valid = handle && curl_url_set(handle.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  }
  std::string part(CURLUPart which, unsigned flags = 0) const {
    char* text = nullptr;
    if (!valid || curl_url_get(handle.get(), which, &text, flags) != CURLUE_OK) return "";
    std::string out(text);
    curl_free(text);
    return out;
  }
};

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
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
  const std::string scheme = lower(text.substr(0, text.find("://")));
  if (scheme != "http" && scheme != "https") fail_usage("{}: {}", text, kExpected);
  const Url url(text);
  if (origin_of(text).empty()) fail_usage("{}: not a URL; {}", without_query(text), kExpected);
  if (!url.part(CURLUPART_USER).empty() || !url.part(CURLUPART_PASSWORD).empty()) {
    fail_usage("the URL holds a user name or password, which would be shown and kept; leave it out");
  }
  out.url = text;
  out.text = without_query(text);
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

std::string url_encode(std::string_view text, bool keep_slashes) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' || (keep_slashes && c == '/');
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string url_decode(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string origin_of(const std::string& text) {
  const Url url(text);
  const std::string scheme = lower(url.part(CURLUPART_SCHEME)), host = lower(url.part(CURLUPART_HOST));
  if ((scheme != "http" && scheme != "https") || host.empty()) return "";
  return scheme + "://" + host + ":" + url.part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string without_query(const std::string& url) {
  return url.substr(0, url.find_first_of("?#"));
}

}  // namespace frugal::hub
