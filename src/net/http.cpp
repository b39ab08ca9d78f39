#include "net/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <string_view>

#include "core/interrupted.h"
#include "net/url.h"

namespace frugal::net {
namespace {

constexpr size_t kKeptOfErrors = 4096, kLongestHeaders = 1 << 18;

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Whether another try may succeed: the network's fault, not the address's or a certificate's.
bool may_retry(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string HttpHead::header(const std::string& name) const {
  const auto it = headers.find(name);
  return it == headers.end() ? "" : it->second;
}

// What the callbacks of one request share. Nothing may be thrown through libcurl: it is kept.
struct HttpClient::Transfer {
  CURL* curl;
  const Sink& sink;
  const std::atomic<bool>* stop;
  HttpHead head;
  size_t header_bytes = 0;
  bool begun = false;
  std::exception_ptr failure;

  template <class F>
  bool guarded(F f) {
    try {
      f();
      return true;
    } catch (...) {
      failure = std::current_exception();
      return false;
    }
  }
  void take_header(std::string_view line) {
    if ((header_bytes += line.size()) > kLongestHeaders) fail("the server's headers never end");
    if (line.starts_with("HTTP/")) head.headers.clear();  // the next answer: after 100, or a proxy's own
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string name(line.substr(0, colon));
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const std::string_view value = line.substr(colon + 1);
    const size_t first = value.find_first_not_of(" \t"), last = value.find_last_not_of(" \t\r\n");
    head.headers[name] = first == std::string_view::npos ? "" : value.substr(first, last - first + 1);
  }
  void begin() {
    if (begun) return;
    begun = true;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &head.status);
    if (head.ok()) sink.begin(head);
  }
  void take_body(std::span<const char> bytes) {
    begin();
    if (head.ok()) return sink.data(bytes);
    const size_t room = kKeptOfErrors - std::min(kKeptOfErrors, head.body.size());
    head.body.append(bytes.data(), std::min(bytes.size(), room));
  }

  static size_t on_header(char* data, size_t, size_t bytes, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    return t.guarded([&] { t.take_header({data, bytes}); }) ? bytes : 0;
  }
  static size_t on_body(char* data, size_t, size_t bytes, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    return t.guarded([&] { t.take_body({data, bytes}); }) ? bytes : bytes + 1;  // anything else ends it
  }
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const auto& t = *static_cast<Transfer*>(self);
    return t.stop != nullptr && t.stop->load() ? 1 : 0;
  }
};

HttpClient::HttpClient(HttpOptions options) : options_(std::move(options)) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  for (const char c : options_.token) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
      fail_usage("the token holds spaces or control characters; check the variable it comes from");
    }
  }
  curl_ = curl_easy_init();
  if (curl_ == nullptr) fail("cannot start libcurl");
}

HttpClient::~HttpClient() {
  curl_easy_cleanup(static_cast<CURL*>(curl_));
}

HttpHead HttpClient::once(const std::string& url, const std::vector<std::string>& headers,
                          const std::string* body, const Sink& sink, std::string& redirect) {
  CURL* curl = static_cast<CURL*>(curl_);
  curl_easy_reset(curl);  // keeps connections
  Transfer transfer{curl, sink, options_.stop, {}, 0, false, nullptr};
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> list(nullptr, &curl_slist_free_all);
  const auto add = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    CHECK(longer != nullptr);
    list.release();
    list.reset(longer);
  };
  for (const std::string& line : headers) add(line);
  if (!options_.token.empty() && origin_of(url) == options_.token_origin)
    add("Authorization: Bearer " + options_.token);
  char message[CURL_ERROR_SIZE] = "";
  const auto set = [&](CURLoption option, auto value) { curl_easy_setopt(curl, option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_HTTPHEADER, list.get());
  set(CURLOPT_USERAGENT, options_.user_agent.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  if (!options_.ca_file.empty()) set(CURLOPT_CAINFO, options_.ca_file.c_str());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_seconds * 1000));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(options_.stall_seconds)));
  if (options_.total_seconds > 0)
    set(CURLOPT_TIMEOUT_MS, std::max(1L, static_cast<long>(options_.total_seconds * 1000)));
  if (body != nullptr) {
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
    set(CURLOPT_POSTFIELDS, body->c_str());
    // libcurl sends a request again, by itself, when a kept connection turns out to be closed; one that is
    // paid for is sent once.
    set(CURLOPT_FRESH_CONNECT, 1L);
  }
  set(CURLOPT_ERRORBUFFER, message);
  set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &Transfer::on_progress);
  set(CURLOPT_XFERINFODATA, &transfer);
  const CURLcode code = curl_easy_perform(curl);
  if (transfer.failure) std::rethrow_exception(transfer.failure);
  if (options_.stop != nullptr && options_.stop->load()) throw Interrupted("the transfer was stopped");
  if (code != CURLE_OK) {
    long request_bytes = 0;
    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &request_bytes);
    throw TransferError(
        fmt::format("{}: {}", without_query(url), *message ? message : curl_easy_strerror(code)),
        may_retry(code), request_bytes > 0);
  }
  transfer.begin();  // an answer without a body
  transfer.head.url = url;
  if (is_redirect(transfer.head.status)) {
    const char* location = nullptr;
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location);
    if (location == nullptr) fail("{}: a redirect that leads nowhere", without_query(url));
    redirect = location;
  }
  return transfer.head;
}

HttpHead HttpClient::get(const std::string& first, const std::vector<std::string>& headers,
                         const Sink& sink) {
  std::map<std::string, std::string> linked;  // what the hub says of the file it sends us to
  std::string url = first;
  const Sink keeping{[&](const HttpHead& head) {
                       HttpHead merged = head;
                       for (const auto& [name, value] : linked) merged.headers[name] = value;
                       merged.url = url;
                       sink.begin(merged);
                     },
                     sink.data};
  for (int hops = 0;; ++hops) {
    std::string next;
    HttpHead head = once(url, headers, nullptr, keeping, next);
    if (next.empty()) {
      for (const auto& [name, value] : linked) head.headers[name] = value;
      return head;
    }
    if (hops >= options_.redirects)
      fail("{}: more than {} redirects", without_query(first), options_.redirects);
    const std::string from = origin_of(url), to = origin_of(next);
    if (to.empty())
      fail("{}: redirected to {}, which is not http or https", without_query(url), without_query(next));
    if (from.starts_with("https:") && !to.starts_with("https:")) {
      fail("{}: redirected from https to {}, which is not encrypted", without_query(url),
           without_query(next));
    }
    if (from == origin_of(first)) {
      for (const auto& [name, value] : head.headers) {
        if (name.starts_with("x-linked-")) linked[name] = value;
      }
    }
    url = next;
  }
}

namespace {

HttpClient::Sink into(std::string& document, const std::string& url, size_t most) {
  document.clear();
  return {[](const HttpHead&) {},
          [&document, url, most](std::span<const char> bytes) {
            if (document.size() + bytes.size() > most) {
              fail("{}: the answer is longer than {} bytes", without_query(url), most);
            }
            document.append(bytes.data(), bytes.size());
          }};
}

}  // namespace

HttpHead HttpClient::get(const std::string& url, std::string& document, size_t most) {
  return get(url, {}, into(document, url, most));
}

HttpHead HttpClient::post(const std::string& url, const std::vector<std::string>& headers,
                          const std::string& body, std::string& document, size_t most) {
  std::string redirect;
  const HttpHead head = once(url, headers, &body, into(document, url, most), redirect);
  if (!redirect.empty()) {
    fail("{}: redirected to {}; nothing is sent there unless it is named itself", without_query(url),
         without_query(redirect));
  }
  return head;
}

}  // namespace frugal::net
