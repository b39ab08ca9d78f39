// What the benchmarks share: the best of many timings, since the machine may be shared, and the machine's
// bounds.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace frugal::kernels {

template <class Body>
double seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// FLOP/s of the FMA loop on all threads of the pool, best of 20.
inline double peak_flops(ThreadPool& pool, const Table& table) {
  double best = 0;
  for (int run = 0; run < 20; ++run) {
    std::vector<float> sinks(static_cast<size_t>(pool.size()) * 16);
    int64_t flops = 0;
    const double time = seconds([&] {
      pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t, int) {
        const int64_t done = table.fma_loop(200000, &sinks[static_cast<size_t>(begin) * 16]);
        if (begin == 0) flops = done;
      });
    });
    best = std::max(best, static_cast<double>(flops) * pool.size() / time);
  }
  return best;
}

}  // namespace frugal::kernels
