// Best-of-many timing and the machine's bounds, for the benchmarks of kernels.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace frugal::kernels {

// Seconds that body takes: of the CPU when the pool is one thread, which holds on a busy machine too; else of
// the clock.
template <class Body>
double seconds(const ThreadPool& pool, Body&& body) {
  const auto now = [&] {
    timespec time;
    clock_gettime(pool.size() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  body();
  return now() - start;
}

// Floating-point operations per second of the FMA loop on all threads.
inline double peak_flops(ThreadPool& pool, const Table& table) {
  double best = 0;
  for (int run = 0; run < 30; ++run) {
    std::vector<float> sinks(static_cast<size_t>(pool.size()) * 16);
    int64_t flops = 0;
    const double time = seconds(pool, [&] {
      pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t, int) {
        const int64_t done = table.fma_loop(100000, &sinks[static_cast<size_t>(begin) * 16]);
        if (begin == 0) flops = done;
      });
    });
    best = std::max(best, static_cast<double>(flops) * pool.size() / time);
  }
  return best;
}

// Bytes per second of the read loop on all threads over x.
inline double read_bandwidth(ThreadPool& pool, const Table& table, const std::vector<float>& x, int runs) {
  double best = 0;
  std::vector<float> sinks(static_cast<size_t>(pool.size()) * 16);
  for (int run = 0; run < runs; ++run) {
    const double time = seconds(pool, [&] {
      pool.parallel_for(static_cast<int64_t>(x.size()), 1 << 16, [&](int64_t begin, int64_t end, int worker) {
        sinks[static_cast<size_t>(worker) * 16] += table.read_loop(end - begin, x.data() + begin);
      });
    });
    best = std::max(best, static_cast<double>(x.size() * sizeof(float)) / time);
  }
  return best;
}

// The first argument, if it is a number, is taken away and returned: the number of threads (0: one per CPU).
inline int take_threads(int& argc, char** argv) {
  if (argc < 2 || argv[1][0] < '0' || argv[1][0] > '9') return 0;
  const int threads = std::atoi(argv[1]);
  std::copy(argv + 2, argv + argc, argv + 1);
  --argc;
  return threads;
}

}  // namespace frugal::kernels
