#include "net/url.h"

#include <curl/curl.h>
#include <fmt/core.h>

#include <memory>

namespace frugal::net {
namespace {

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

bool has_credentials(const std::string& text) {
  const Url url(text);
  return !url.part(CURLUPART_USER).empty() || !url.part(CURLUPART_PASSWORD).empty();
}

bool is_loopback(const std::string& text) {
  const std::string host = lower(Url(text).part(CURLUPART_HOST));
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

}  // namespace frugal::net
