// Ctrl-C as a flag, for verbs that have something to finish. The only state of the program that is not passed
// around: a signal handler can reach nothing else.
#pragma once

#include <atomic>
#include <csignal>

namespace frugal::cli {

// While one lives, the first SIGINT or SIGTERM sets the flag; a second one ends the program at once.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  const std::atomic<bool>& flag() const;
  void clear();

 private:
  struct sigaction old_interrupt_, old_terminate_;
};

}  // namespace frugal::cli
