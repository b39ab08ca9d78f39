#include "meter/machine.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "core/error.h"
#include "kernels/kernels.h"
#include "meter/process.h"

namespace frugal {
namespace {

// The shortest of several runs: whatever disturbs a run makes it longer.
template <class F>
double best_seconds(int runs, double budget, F f) {
  double best = 1e30;
  const double begin = steady_seconds();
  for (int i = 0; i < runs && (i < 2 || steady_seconds() - begin < budget); ++i) {
    const double start = steady_seconds();
    f();
    best = std::min(best, steady_seconds() - start);
  }
  return best;
}

int64_t bytes_to_read() {
  constexpr int64_t kLeast = int64_t{64} << 20, kUsual = int64_t{256} << 20, kMost = int64_t{1} << 30;
  const int64_t cache = std::max(0L, ::sysconf(_SC_LEVEL3_CACHE_SIZE));
  const int64_t free = int64_t{::sysconf(_SC_AVPHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  return std::max(kLeast, std::min({kMost, std::max(kUsual, 4 * cache), free / 4}));
}

}  // namespace

double measure_peak_flops(ThreadPool& pool, const kernels::Table& table) {
  constexpr double kPiece = 5e-4;  // seconds; many pieces a thread, so that a late start costs little
  constexpr int kPieces = 24;
  constexpr int64_t kProbe = 10'000;
  std::vector<float> sinks(static_cast<size_t>(pool.size()));
  const double probe = best_seconds(5, 0.05, [&] { table.fma_loop(kProbe, sinks.data()); });
  const auto rounds = std::max<int64_t>(1, static_cast<int64_t>(kProbe * kPiece / std::max(probe, 1e-9)));
  const int64_t items = int64_t{pool.size()} * kPieces;
  const auto operations = static_cast<double>(items * table.fma_loop(rounds, sinks.data()));
  const double seconds = best_seconds(12, 0.25, [&] {
    pool.parallel_for(items, 1, [&](int64_t begin, int64_t end, int worker) {
      float sink = 0;
      for (int64_t i = begin; i < end; ++i) table.fma_loop(rounds, &sink);
      sinks[static_cast<size_t>(worker)] += sink;
    });
  });
  return operations / seconds;
}

double measure_read_bandwidth(ThreadPool& pool, const kernels::Table& table) {
  constexpr int64_t kGrain = 1 << 18;  // floats
  const int64_t count = bytes_to_read() / static_cast<int64_t>(sizeof(float)) / kGrain * kGrain;
  const std::unique_ptr<float[]> memory(new float[static_cast<size_t>(count)]);
  pool.parallel_for(count, kGrain, [&](int64_t begin, int64_t end, int) {
    std::fill(memory.get() + begin, memory.get() + end, 1.0f);  // untouched pages are all one page
  });
  std::vector<double> sums(static_cast<size_t>(pool.size()));
  int runs = 0;
  const double seconds = best_seconds(8, 0.3, [&] {
    ++runs;
    pool.parallel_for(count, kGrain, [&](int64_t begin, int64_t end, int worker) {
      sums[static_cast<size_t>(worker)] += table.read_loop(end - begin, memory.get() + begin);
    });
  });
  double sum = 0;
  for (const double s : sums) sum += s;
  CHECK(sum == static_cast<double>(count) * runs, "read {} of {} floats", sum, count);
  return static_cast<double>(count) * sizeof(float) / seconds;
}

MachinePeaks measure_machine(ThreadPool& pool, const kernels::Table& table) {
  return {.flops_per_second = measure_peak_flops(pool, table),
          .bytes_per_second = measure_read_bandwidth(pool, table),
          .threads = pool.size(),
          .kernels = table.name};
}

}  // namespace frugal
