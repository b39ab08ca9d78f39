// Patience: what is tried again, and how long to wait.
#pragma once

#include <atomic>
#include <string>

#include "core/rng.h"

namespace frugal::net {

struct RetryPolicy {
  int attempts = 6;           // failures in a row, without a new byte, before giving up
  double first_delay = 1;     // seconds; doubles with every failure
  double longest_delay = 60;  // also of what a server asks for (Retry-After)
  double jitter = 0;          // up to this share longer, so that many clients do not come back at once
};

// 408, 425, 429 and 5xx pass by themselves.
bool is_temporary(long status);

// Sleeps in short pieces; Interrupted when *stop is set meanwhile.
void wait_for(double seconds, const std::atomic<bool>* stop);

// Counts failures in a row and waits between them.
class Patience {
 public:
  // `seed` of the jitter.
  Patience(const RetryPolicy& policy, const std::atomic<bool>* stop, uint64_t seed = 0)
      : policy_(policy), stop_(stop), rng_(seed) {}
  void progressed() { failures_ = 0; }
  // False when there is none left; else waits, as long as `retry_after` (a header's value) asks within
  // limits. Interrupted when stopped meanwhile.
  bool wait(const std::string& retry_after);

 private:
  const RetryPolicy& policy_;
  const std::atomic<bool>* stop_;
  Rng rng_;
  int failures_ = 0;
};

}  // namespace frugal::net
