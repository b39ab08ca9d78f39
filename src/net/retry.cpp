#include "net/retry.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "core/interrupted.h"

namespace frugal::net {

bool is_temporary(long status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

void wait_for(double seconds, const std::atomic<bool>* stop) {
  using Clock = std::chrono::steady_clock;
  const auto until =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (Clock::now() < until) {
    if (stop != nullptr && stop->load()) throw Interrupted("the transfer was stopped");
    std::this_thread::sleep_for(
        std::min<Clock::duration>(std::chrono::milliseconds(50), until - Clock::now()));
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
  wait_for(seconds * (1 + policy_.jitter * rng_.uniform()), stop_);
  return true;
}

}  // namespace frugal::net
