// Where time goes, by phase and op. An op opens a scope; scopes nest, and time counts for the innermost.
// Costs two readings of the clock an op while it is on, a null check while it is not.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"

namespace frugal {

class Profile {
 public:
  struct Op {
    std::string name;
    int64_t calls = 0;
    double seconds = 0;           // without the ops inside
    double flops = 0, bytes = 0;  // as the ops count them: see docs/performance.md
  };
  struct Phase {
    std::string name;
    double seconds = 0;  // of the clock
    std::vector<Op> ops;
    PoolTimes pool;
    double accounted() const;  // seconds spent in ops
  };

  // Measures `pool` too, until destroyed. Time counts for the phase "" until phase() is called.
  explicit Profile(ThreadPool& pool);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // From here on time counts for the phase of that name, which may have been there before; between scopes
  // only.
  void phase(std::string_view name);
  // The phases that took any time, ops with the most time first.
  std::vector<Phase> phases();

  bool inside_op() const { return !open_.empty(); }
  void begin(std::string_view op);
  void work(double flops, double bytes);  // of the innermost op
  void end();

 private:
  using Clock = std::chrono::steady_clock;
  struct Open {
    size_t op;
    Clock::time_point start;
    double inner = 0;
  };
  void close_phase();

  ThreadPool& pool_;
  std::vector<Phase> phases_;
  size_t current_ = 0;
  Clock::time_point phase_start_;
  std::vector<Open> open_;
};

// An op's time, from construction to destruction. `profile` may be null.
class ProfileScope {
 public:
  ProfileScope(Profile* profile, std::string_view op) : profile_(profile) {
    if (profile_ != nullptr) profile_->begin(op);
  }
  ~ProfileScope() {
    if (profile_ != nullptr) profile_->end();
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

  void work(double flops, double bytes) {
    if (profile_ != nullptr) profile_->work(flops, bytes);
  }

 private:
  Profile* profile_;
};

}  // namespace frugal
