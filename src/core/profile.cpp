#include "core/profile.h"

#include <algorithm>

#include "core/error.h"

namespace frugal {
namespace {

using Seconds = std::chrono::duration<double>;

// The element of that name, appended when there is none.
template <class T>
size_t find_or_add(std::vector<T>& list, std::string_view name) {
  const auto at = std::ranges::find_if(list, [&](const T& x) { return x.name == name; });
  if (at != list.end()) return static_cast<size_t>(at - list.begin());
  list.emplace_back().name = std::string(name);
  return list.size() - 1;
}

}  // namespace

double Profile::Phase::accounted() const {
  double sum = 0;
  for (const Op& op : ops) sum += op.seconds;
  return sum;
}

Profile::Profile(ThreadPool& pool) : pool_(pool), phases_(1), phase_start_(Clock::now()) {
  pool_.measure(true);
}

Profile::~Profile() {
  pool_.measure(false);
}

void Profile::close_phase() {
  CHECK(open_.empty(), "a phase ends inside an op");
  const auto now = Clock::now();
  Phase& phase = phases_[current_];
  phase.seconds += Seconds(now - phase_start_).count();
  phase.pool += pool_.take_times();
  phase_start_ = now;
}

void Profile::phase(std::string_view name) {
  close_phase();
  current_ = find_or_add(phases_, name);
}

std::vector<Profile::Phase> Profile::phases() {
  close_phase();
  std::vector<Phase> out = phases_;
  std::erase_if(out, [](const Phase& phase) { return phase.ops.empty(); });
  for (Phase& phase : out) {
    std::ranges::stable_sort(phase.ops, [](const Op& a, const Op& b) { return a.seconds > b.seconds; });
  }
  return out;
}

void Profile::begin(std::string_view op) {
  open_.push_back({find_or_add(phases_[current_].ops, op), Clock::now()});
}

void Profile::work(double flops, double bytes) {
  Op& op = phases_[current_].ops[open_.back().op];
  op.flops += flops;
  op.bytes += bytes;
}

void Profile::end() {
  const Open scope = open_.back();
  open_.pop_back();
  const double seconds = Seconds(Clock::now() - scope.start).count();
  Op& op = phases_[current_].ops[scope.op];
  ++op.calls;
  op.seconds += seconds - scope.inner;
  if (!open_.empty()) open_.back().inner += seconds;
}

}  // namespace frugal
