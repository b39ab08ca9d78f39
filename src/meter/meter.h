// The meter of one process: what a stage cost in time, operations, memory, energy, money and carbon.
//
// Callers add exact counts; time, memory and energy are sampled, at every reading and by a sleeping thread in
// between (RAPL counters wrap within minutes). A stage is the difference of two readings; stages may nest and
// overlap, and each sees all the process did meanwhile. All members may be called from any thread.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/files.h"
#include "meter/bill.h"
#include "meter/energy.h"
#include "meter/prices.h"
#include "meter/rapl.h"

namespace frugal {

struct MeterOptions {
  fs::path powercap = "/sys/class/powercap";
  fs::path cpuinfo = "/proc/cpuinfo";
  fs::path process = "/proc/self";
  bool with_children = false;  // CPU seconds of ended child processes too
  double sample_seconds = 1;   // 0: no thread, only readings sample
};

class Meter {
 public:
  // UsageError when `prices` are impossible.
  explicit Meter(const Prices& prices, const MeterOptions& options = {});
  ~Meter();
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  void add_flops(double flops);
  void add_bytes(double bytes);
  void add_tokens(int64_t tokens);

  class Stage;
  // Measures until stop() or the end of the handle's life. The meter must outlive it. Without a name it is a
  // private measurement that stages() does not list.
  [[nodiscard]] Stage start(std::string name = {});
  // Since construction.
  Bill total();

  struct NamedBill {
    std::string name;
    bool running;
    Bill bill;
  };
  // All named stages in the order they were started.
  std::vector<NamedBill> stages();

  // "measured: package-0, dram" or "modelled: AMD EPYC, ..." with the reason, for the preamble of a run.
  std::string energy_description() const;
  const Prices& prices() const { return prices_; }

 private:
  // Running sums since construction.
  struct Reading {
    double seconds = 0, cpu_seconds = 0, flops = 0, bytes = 0, gb_seconds = 0, rapl_joules = 0;
    int64_t tokens = 0, peak_memory_bytes = 0;
  };
  struct Span {
    std::string name;
    Reading begin, end;
    int64_t peak_sampled = 0;
    bool running = true;
  };

  Reading sample();  // with mutex_ held
  void end(const std::shared_ptr<Span>& span);
  Bill bill(const Span& span, const Reading& end) const;
  Joules energy(double cpu_seconds, double gb_seconds, double rapl_joules, std::string& source) const;
  void watch(double period);

  const Prices prices_;
  const MeterOptions options_;
  CpuPower cpu_;
  int64_t vcpus_;
  double begin_seconds_, begin_cpu_;
  mutable std::mutex mutex_;
  Rapl rapl_;
  double flops_ = 0, bytes_ = 0, gb_seconds_ = 0, last_sample_;
  int64_t tokens_ = 0, last_resident_;
  std::vector<std::shared_ptr<Span>> spans_;  // the first is the total
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread sampler_;
};

class Meter::Stage {
 public:
  Stage(Stage&& other) noexcept : meter_(other.meter_), span_(std::move(other.span_)) {}
  Stage& operator=(Stage&&) = delete;
  ~Stage();
  // So far while it runs, final once stopped.
  Bill bill() const;
  Bill stop();

 private:
  friend class Meter;
  Stage(Meter* meter, std::shared_ptr<Span> span) : meter_(meter), span_(std::move(span)) {}
  Meter* meter_;
  std::shared_ptr<Span> span_;
};

}  // namespace frugal
