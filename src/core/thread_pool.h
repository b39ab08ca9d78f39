// One pool of threads for the whole program. The caller is worker 0 and takes part. Workers spin for about 50
// us after a job, then sleep, so that decode's many short jobs are cheap and an idle program costs nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/read_ahead.h"

namespace frugal {

// A non-owning reference to a callable; the callable must outlive the call it is passed to.
template <class Signature>
class FunctionRef;
template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
      FunctionRef(F&& f)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* object, A... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<A>(args)...);
        }) {}
  R operator()(A... args) const { return call_(object_, std::forward<A>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, A...);
};

// CPUs this process may use: the affinity mask, bounded by the cgroup's CPU quota; at least 1.
int default_thread_count();

// What parallel jobs cost, while measured.
struct PoolTimes {
  int64_t jobs = 0;    // handed to several threads
  double seconds = 0;  // of the clock, from handing out to the end of the last thread
  double busy = 0;     // of all threads together, inside bodies
  double waiting = 0;  // of the caller, for others to finish
  PoolTimes& operator+=(const PoolTimes& other);
};

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 1024;
  // threads counts the caller; 0 means default_thread_count(). UsageError when negative or above kMaxThreads.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, worker) for chunks of at most `grain` items that cover [0, items) exactly once.
  // Chunks are handed out in order, to whoever is free; which worker gets a chunk is not fixed, so results
  // must not depend on it. The first exception thrown by a body is rethrown here after all workers have
  // stopped. A call from inside a body runs serially on that worker.
  void parallel_for(int64_t items, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body);

  // As parallel_for with a grain of 1, for items that lie behind one another in memory: every thread begins
  // with a run of its own, so that it reads on where it is, and helps with the runs of others when that is
  // done. `reads` is the memory that the items read together, in order: threads that wait ask for what was
  // read after it before.
  void parallel_runs(int64_t items, Reads reads, FunctionRef<void(int64_t, int64_t, int)> body);

  // Threads that wait for a job ask for this memory meanwhile: what the next job reads, where that is other
  // memory every time. Wakes nobody up and waits at most for threads that are about to take note of such a
  // request.
  void ask_for(Reads reads);

  // The worker that the calling thread is: 0 for the caller outside any body. A function that is called from
  // bodies too takes its scratch under this index.
  int this_worker() const;

  // Scratch memory of one worker, 64-byte aligned, grown on demand and kept; valid until the worker's next
  // call. Call with the worker index that the body was given.
  void* scratch(int worker, size_t bytes);

  // Takes the time of jobs from here on, or no longer; off at first. Not while a job runs.
  void measure(bool on);
  // The times since the last call.
  PoolTimes take_times();

 private:
  struct Job {
    FunctionRef<void(int64_t, int64_t, int)>* body = nullptr;
    int64_t items = 0, grain = 1;
    bool in_runs = false;
    std::span<const Reads> ahead = {};
  };
  struct alignas(64) Run {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  void work(int worker);
  void hand_out(const Job& job);
  void take_part(int worker);
  void run_chunks(int worker);
  void run_runs(int worker);
  void stop_early();
  void wait_for_others();
  void open(const Job& job);
  void close();

  struct Scratch {
    std::unique_ptr<std::byte[]> memory;
    size_t bytes = 0;
  };
  struct alignas(64) Busy {
    double seconds = 0;
  };
  Job job_;
  bool measuring_ = false;
  PoolTimes times_;
  std::vector<Busy> busy_;
  std::vector<std::thread> workers_;
  std::vector<Scratch> scratch_;
  std::vector<Run> runs_;  // of parallel_runs, one a thread
  ReadOrder order_;
  std::vector<MemorySpan> asked_;  // by ask_for
  Reads asked_reads_;
  alignas(64) std::atomic<int64_t> next_{0};
  // The job's number above kOpen; kOpen while workers may join it; below, how many have joined and not left.
  // The caller waits for those alone: on a busy machine a worker may wake long after its job is done.
  static constexpr uint64_t kOpen = 1 << 16, kNextJob = kOpen << 1;
  alignas(64) std::atomic<uint64_t> state_{0};
  bool join(uint64_t& seen);
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  int sleeping_ = 0;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace frugal
