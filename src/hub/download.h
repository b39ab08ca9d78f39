// One file, fetched so that a cut connection, a crash or a full disk costs only what was not there yet, and
// that nothing has its final name before it is whole and what it should be.
#pragma once

#include <functional>
#include <optional>

#include "hub/checksum.h"
#include "net/http.h"
#include "net/retry.h"

namespace frugal::hub {

using net::HttpClient;
using net::HttpHead;
using net::RetryPolicy;

struct RemoteFile {
  std::string path;  // below the model's directory, with '/'
  std::string url;
  std::optional<int64_t> size;  // where the hub said it
  Checksum checksum;            // where the hub said it
};

struct Downloaded {
  int64_t size = 0;
  int64_t received = 0;  // bytes that came over the network; 0 when a finished part was found
  Checksum checksum;     // of the file: the wanted one, else its SHA-256
};

// `file` as `target`. While it comes in it is target.part, beside it target.part.json with what a later try
// needs to go on (Range and If-Range, RFC 9110 §13-14). Size and checksum are held against what the hub, or
// the answer's X-Linked-Etag, says; a file that differs is fetched once more from the start. `progress` gets
// the bytes that are there and those wanted (0: unknown).
// Error saying what failed and what to do: 401, 403, 404, no space, a checksum that differs. Interrupted when
// the client's `stop` is set; what came in is kept.
Downloaded download(HttpClient& client, const RemoteFile& file, const fs::path& target,
                    const RetryPolicy& policy, const std::function<void(int64_t, int64_t)>& progress);

// Small documents with the same patience; Error for any status but 2xx.
std::string fetch_document(HttpClient& client, const std::string& url, const RetryPolicy& policy,
                           size_t most);

}  // namespace frugal::hub
