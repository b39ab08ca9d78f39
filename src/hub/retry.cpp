#include "hub/retry.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "core/interrupted.h"
#include "hub/source.h"

namespace frugal::hub {

bool is_temporary(long status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

void fail_status(const HttpHead& head, const std::string& url, bool with_token) {
  const std::string where = without_query(url);
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

bool Patience::wait(const std::string& retry_after) {
  if (++failures_ >= policy_.attempts) return false;
  double seconds = policy_.first_delay;
  for (int i = 1; i < failures_; ++i) seconds = std::min(2 * seconds, policy_.longest_delay);
  int asked = 0;  // seconds; a date is not understood and needs no answer
  const auto [end, error] =
      std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), asked);
  if (error == std::errc{} && end == retry_after.data() + retry_after.size()) {
    seconds = std::clamp(static_cast<double>(asked), seconds, std::max(seconds, policy_.longest_delay));
  }
  using Clock = std::chrono::steady_clock;
  const auto until =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (Clock::now() < until) {
    if (stop_ != nullptr && stop_->load()) throw Interrupted("the transfer was stopped");
    std::this_thread::sleep_for(
        std::min<Clock::duration>(std::chrono::milliseconds(50), until - Clock::now()));
  }
  return true;
}

std::string fetch_document(HttpClient& client, const std::string& url, const RetryPolicy& policy,
                           size_t most) {
  Patience patience(policy, client.options().stop);
  for (;;) {
    try {
      std::string document;
      const HttpHead head = client.get(url, document, most);
      if (head.ok()) return document;
      if (!is_temporary(head.status) || !patience.wait(head.header("retry-after")))
        fail_status(head, url, !client.options().token.empty());
    } catch (const TransferError& error) {
      if (!error.retry || !patience.wait("")) throw;
    }
  }
}

}  // namespace frugal::hub
