#include "hub/retry.h"

#include "net/url.h"

namespace frugal::hub {

void fail_status(const HttpHead& head, const std::string& url, bool with_token) {
  const std::string where = net::without_query(url);
  // Hubs say more in a header; pages are no help on a terminal.
  const std::string said = head.header("x-error-message");
  const std::string more = said.empty() ? "" : fmt::format(" ({})", said.substr(0, 200));
  switch (head.status) {
    case 401:
      fail("{}: not allowed{}: {}", where, more,
           with_token ? "the token in HF_TOKEN is not accepted"
                      : "there is no such model, or it needs a token; set HF_TOKEN");
    case 403:
      fail("{}: forbidden{}: {}", where, more,
           with_token ? "the owner of HF_TOKEN has to be given access, on the model's page"
                      : "it needs a token with access; set HF_TOKEN");
    case 404:
      fail("{}: not found{}: check the name, the revision and the file", where, more);
    default:
      fail("{}: the server answers {}{}", where, head.status, more);
  }
}

std::string fetch_document(HttpClient& client, const std::string& url, const RetryPolicy& policy,
                           size_t most) {
  net::Patience patience(policy, client.options().stop);
  for (;;) {
    try {
      std::string document;
      const HttpHead head = client.get(url, document, most);
      if (head.ok()) return document;
      if (!net::is_temporary(head.status) || !patience.wait(head.header("retry-after")))
        fail_status(head, url, !client.options().token.empty());
    } catch (const net::TransferError& error) {
      if (!error.retry || !patience.wait("")) throw;
    }
  }
}

}  // namespace frugal::hub
