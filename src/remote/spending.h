// Money and pace, shared by the threads that ask.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>

namespace frugal::remote {

// Never lends more than there is: what was spent and the worst cases of all open requests stay within the
// cap.
class Purse {
 public:
  Purse(std::optional<double> cap, double spent) : cap_(cap), spent_(spent) {}
  // Sets `worst` dollars aside. Waits while open requests may still give back enough; false when they cannot,
  // or when *stop is set.
  bool reserve(double worst, const std::atomic<bool>& stop);
  // The request is over: of its `worst`, `counted` dollars are gone.
  void settle(double worst, double counted);
  double spent() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  const std::optional<double> cap_;
  double spent_, reserved_ = 0;
  int open_ = 0;
};

// Spreads requests evenly over the minute. Not thread-safe by itself.
class Pacer {
 public:
  // 0: no limit.
  Pacer(double requests_per_minute, double tokens_per_minute)
      : requests_(requests_per_minute), tokens_(tokens_per_minute) {}
  // When a request of `tokens` may start if it wants to at `now`, in seconds of any clock; the next ones
  // start later accordingly.
  double start(double now, double tokens);

 private:
  double requests_, tokens_;
  double next_ = 0;
};

}  // namespace frugal::remote
