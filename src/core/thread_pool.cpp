#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>

#include "core/error.h"
#include "core/huge_pages.h"

namespace frugal {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(50);

// Which pool and worker the current thread is, to run nested calls serially with the right worker index.
thread_local const ThreadPool* current_pool = nullptr;
thread_local int current_worker = 0;

// Makes the current thread a worker of a pool while it is inside a body.
class InBody {
 public:
  InBody(const ThreadPool* pool, int worker)
      : outer_pool_(std::exchange(current_pool, pool)),
        outer_worker_(std::exchange(current_worker, worker)) {}
  ~InBody() {
    current_pool = outer_pool_;
    current_worker = outer_worker_;
  }
  InBody(const InBody&) = delete;
  InBody& operator=(const InBody&) = delete;

 private:
  const ThreadPool* outer_pool_;
  int outer_worker_;
};

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double cgroup_cpu_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0) return std::stod(quota) / period;
  return 1e9;
}

}  // namespace

int default_thread_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  cpus = static_cast<int>(std::min<double>(cpus, std::ceil(cgroup_cpu_quota())));
  return std::clamp(cpus, 1, ThreadPool::kMaxThreads);
}

ThreadPool::ThreadPool(int threads) {
  if (threads < 0 || threads > kMaxThreads) {
    fail_usage("threads = {}: expected 1 to {}, or 0 for one per CPU", threads, kMaxThreads);
  }
  if (threads == 0) threads = default_thread_count();
  scratch_.resize(static_cast<size_t>(threads));
  busy_.resize(static_cast<size_t>(threads));
  runs_ = std::vector<Run>(static_cast<size_t>(threads));
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  {
    const std::lock_guard lock(mutex_);
    state_.fetch_add(kNextJob);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::parallel_for(int64_t items, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body) {
  CHECK(grain > 0);
  if (items <= 0) return;
  if (current_pool == this || workers_.empty() || items <= grain) {
    const int worker = current_pool == this ? current_worker : 0;
    for (int64_t begin = 0; begin < items; begin += grain)
      body(begin, std::min(items, begin + grain), worker);
    return;
  }
  next_.store(0, std::memory_order_relaxed);
  hand_out({.body = &body, .items = items, .grain = grain});
}

void ThreadPool::parallel_runs(int64_t items, Reads reads, FunctionRef<void(int64_t, int64_t, int)> body) {
  if (current_pool == this || workers_.empty()) return parallel_for(items, 1, body);
  if (items <= 0) return;
  const std::span<const Reads> ahead = order_.follow(reads);
  if (items == 1) {
    const InBody inside(this, 0);
    return body(0, 1, 0);
  }
  for (int run = 0; run < size(); ++run) {
    runs_[static_cast<size_t>(run)].next.store(items * run / size(), std::memory_order_relaxed);
    runs_[static_cast<size_t>(run)].end = items * (run + 1) / size();
  }
  hand_out({.body = &body, .items = items, .in_runs = true, .ahead = ahead});
}

// A job without items, which nobody is woken up for and nobody waits for.
void ThreadPool::ask_for(Reads reads) {
  if (current_pool == this || workers_.empty() || reads.empty()) return;
  close();
  asked_.assign(reads.begin(), reads.end());
  asked_reads_ = asked_;
  open({.in_runs = true, .ahead = {&asked_reads_, 1}});
}

// Workers may join `job` from here on; the one before is closed.
void ThreadPool::open(const Job& job) {
  job_ = job;
  state_.store((state_.load(std::memory_order_relaxed) + kNextJob) | kOpen, std::memory_order_release);
}

// Nobody joins any more, and those who have are done.
void ThreadPool::close() {
  state_.fetch_and(~kOpen, std::memory_order_relaxed);
  wait_for_others();
}

void ThreadPool::hand_out(const Job& job) {
  const auto start = measuring_ ? Clock::now() : Clock::time_point{};
  close();
  bool sleepers = false;
  {
    const std::lock_guard lock(mutex_);
    open(job);
    sleepers = sleeping_ > 0;
  }
  if (sleepers) wake_.notify_all();
  take_part(0);
  const auto done = measuring_ ? Clock::now() : Clock::time_point{};
  close();
  if (measuring_) {
    ++times_.jobs;
    times_.seconds += seconds_since(start);
    times_.waiting += seconds_since(done);
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::wait_for_others() {
  if (state_.load(std::memory_order_acquire) % kOpen == 0) return;
  const auto give_up = Clock::now() + kSpin;
  ReadAhead ahead(job_.ahead, 0, size());
  for (int spins = 0; state_.load(std::memory_order_acquire) % kOpen > 0; ++spins) {
    if (spins % 64 == 63 && Clock::now() > give_up) {
      std::this_thread::yield();  // oversubscribed: let the worker that has our CPU's time slice finish
    } else if (!ahead.done()) {
      ahead.step();
    } else {
      pause_cpu();
    }
  }
}

void ThreadPool::take_part(int worker) {
  const InBody inside(this, worker);
  const auto start = measuring_ ? Clock::now() : Clock::time_point{};
  try {
    if (job_.in_runs) {
      run_runs(worker);
    } else {
      run_chunks(worker);
    }
  } catch (...) {
    stop_early();
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
  if (measuring_) busy_[static_cast<size_t>(worker)].seconds += seconds_since(start);
}

void ThreadPool::run_chunks(int worker) {
  for (;;) {
    const int64_t begin = next_.fetch_add(job_.grain, std::memory_order_relaxed);
    if (begin >= job_.items) break;
    (*job_.body)(begin, std::min(job_.items, begin + job_.grain), worker);
  }
}

void ThreadPool::run_runs(int worker) {
  for (int i = 0; i < size(); ++i) {
    Run& run = runs_[static_cast<size_t>((worker + i) % size())];
    while (run.next.load(std::memory_order_relaxed) < run.end) {
      const int64_t item = run.next.fetch_add(1, std::memory_order_relaxed);
      if (item < run.end) (*job_.body)(item, item + 1, worker);
    }
  }
}

// Nobody begins with what is left of the job.
void ThreadPool::stop_early() {
  if (job_.in_runs) {
    for (Run& run : runs_) run.next.store(run.end, std::memory_order_relaxed);
  } else {
    next_.store(job_.items, std::memory_order_relaxed);
  }
}

// Counts this worker in, unless the job is closed already. `seen` becomes the job's number.
bool ThreadPool::join(uint64_t& seen) {
  uint64_t state = state_.load(std::memory_order_acquire);
  while (state & kOpen) {
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) break;
  }
  seen = state / kNextJob;
  return (state & kOpen) != 0;
}

void ThreadPool::work(int worker) {
  uint64_t seen = 0;
  const auto job = [&] { return state_.load(std::memory_order_acquire) / kNextJob; };
  ReadAhead ahead;
  for (;;) {
    const auto give_up = Clock::now() + kSpin;
    for (int spins = 0; job() == seen; ++spins) {
      if (spins % 64 == 63 && Clock::now() > give_up) {
        std::unique_lock lock(mutex_);
        ++sleeping_;
        wake_.wait(lock, [&] { return job() != seen; });
        --sleeping_;
        break;
      }
      if (!ahead.done()) {
        ahead.step();
      } else {
        pause_cpu();
      }
    }
    const bool joined = join(seen);
    if (stop_) return;  // asked only now: a job may have ended, and the pool with it, since its number was seen
    if (!joined) continue;
    if (job_.body != nullptr) take_part(worker);
    if (job_.in_runs) ahead = ReadAhead(job_.ahead, worker, size());
    state_.fetch_sub(1, std::memory_order_release);
  }
}

int ThreadPool::this_worker() const {
  return current_pool == this ? current_worker : 0;
}

PoolTimes& PoolTimes::operator+=(const PoolTimes& other) {
  jobs += other.jobs;
  seconds += other.seconds;
  busy += other.busy;
  waiting += other.waiting;
  return *this;
}

void ThreadPool::measure(bool on) {
  measuring_ = on;
  take_times();
}

PoolTimes ThreadPool::take_times() {
  for (Busy& busy : busy_) times_.busy += std::exchange(busy.seconds, 0.0);
  return std::exchange(times_, {});
}

void* ThreadPool::scratch(int worker, size_t bytes) {
  constexpr size_t kAlign = 64;
  Scratch& own = scratch_.at(static_cast<size_t>(worker));
  if (own.bytes < bytes + kAlign) {
    own.bytes = std::max(bytes + kAlign, own.bytes * 2);
    own.memory.reset(new std::byte[own.bytes]);
    prefer_huge_pages(own.memory.get(), own.bytes);
  }
  void* start = own.memory.get();
  size_t space = own.bytes;
  return std::align(kAlign, bytes, start, space);
}

}  // namespace frugal
