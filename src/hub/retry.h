// Patience: what is tried again, how long to wait, and what people are told in the end.
#pragma once

#include "hub/download.h"

namespace frugal::hub {

// 408, 425, 429 and 5xx pass by themselves.
bool is_temporary(long status);

// Error with what the status means for a user and what to do.
[[noreturn]] void fail_status(const HttpHead& head, const std::string& url, bool with_token);

// Counts failures in a row and waits between them.
class Patience {
 public:
  Patience(const RetryPolicy& policy, const std::atomic<bool>* stop) : policy_(policy), stop_(stop) {}
  void progressed() { failures_ = 0; }
  // False when there is none left; else waits, as long as `retry_after` (a header's value) asks within
  // limits. Interrupted when stopped meanwhile.
  bool wait(const std::string& retry_after);

 private:
  const RetryPolicy& policy_;
  const std::atomic<bool>* stop_;
  int failures_ = 0;
};

}  // namespace frugal::hub
