// HTTP GET for files and small documents, POST for questions: libcurl, with redirects followed here, so that
// a token reaches one host only and what the first host says on the way is kept.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace frugal::net {

struct HttpOptions {
  std::string user_agent = "frugal";
  std::string token;  // sent as a bearer token to `token_origin` only, never after a redirect elsewhere
  std::string token_origin;  // origin_of() a URL
  std::string ca_file;       // certificates (PEM) of the authorities to trust; empty: the system's
  double connect_seconds = 20;
  double stall_seconds = 30;  // no byte for so long is a failure
  double total_seconds = 0;   // of one request; 0: as long as bytes come
  int redirects = 8;
  const std::atomic<bool>* stop = nullptr;  // set: Interrupted
};

struct HttpHead {
  long status = 0;
  std::string url;                             // that answered, after redirects
  std::map<std::string, std::string> headers;  // names in lower case; x-linked-* also from the first answer
  std::string body;                            // of an answer that is no 2xx: its beginning
  std::string header(const std::string& name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

// A connection that failed or was cut. `retry` says whether trying again may help, `sent` whether the server
// may have seen the request.
class TransferError : public Error {
 public:
  TransferError(const std::string& what, bool may_retry, bool was_sent)
      : Error(what), retry(may_retry), sent(was_sent) {}
  bool retry, sent;
};

class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Where a 2xx answer goes: `begin` once before any of it, then pieces. Both may throw.
  struct Sink {
    std::function<void(const HttpHead&)> begin;
    std::function<void(std::span<const char>)> data;
  };
  // The last answer of the chain of redirects, whatever its status. TransferError when there was none or it
  // was cut short; Error on a redirect that is none of http and https, leads from https to http, or is one
  // too many.
  HttpHead get(const std::string& url, const std::vector<std::string>& headers, const Sink& sink);
  // The same for a document of at most `most` bytes; Error when it is longer.
  HttpHead get(const std::string& url, std::string& document, size_t most);
  // The answer to `body`, of any status but a redirect: those are never followed (Error), so that neither
  // body nor token goes where it was not sent. Error when the document is longer than `most` bytes.
  HttpHead post(const std::string& url, const std::vector<std::string>& headers, const std::string& body,
                std::string& document, size_t most);

  const HttpOptions& options() const { return options_; }

 private:
  struct Transfer;
  // Without a body it is a GET.
  HttpHead once(const std::string& url, const std::vector<std::string>& headers, const std::string* body,
                const Sink& sink, std::string& redirect);
  HttpOptions options_;
  void* curl_;  // CURL
};

}  // namespace frugal::net
