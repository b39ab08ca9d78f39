#include "remote/spending.h"

#include <algorithm>
#include <chrono>

namespace frugal::remote {

bool Purse::reserve(double worst, const std::atomic<bool>& stop) {
  std::unique_lock lock(mutex_);
  const auto fits = [&] { return !cap_ || spent_ + reserved_ + worst <= *cap_; };
  while (!fits() && open_ > 0 && !stop) changed_.wait_for(lock, std::chrono::milliseconds(50));
  if (!fits() || stop) return false;
  reserved_ += worst;
  ++open_;
  return true;
}

void Purse::settle(double worst, double counted) {
  const std::lock_guard lock(mutex_);
  reserved_ = --open_ == 0 ? 0 : reserved_ - worst;  // no rounding is left over
  spent_ += counted;
  changed_.notify_all();
}

double Purse::spent() const {
  const std::lock_guard lock(mutex_);
  return spent_;
}

double Pacer::start(double now, double tokens) {
  const double at = std::max(now, next_);
  double pause = 0;
  if (requests_ > 0) pause = 60 / requests_;
  if (tokens_ > 0) pause = std::max(pause, 60 * tokens / tokens_);
  next_ = at + pause;
  return at;
}

}  // namespace frugal::remote
