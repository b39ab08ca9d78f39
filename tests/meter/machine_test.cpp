#include "meter/machine.h"

#include <gtest/gtest.h>

#include "kernels/dispatch.h"

namespace frugal {
namespace {

TEST(Machine, PeaksArePlausible) {
  ThreadPool pool;
  const MachinePeaks peaks = measure_machine(pool, kernels::best());
  EXPECT_EQ(peaks.threads, pool.size());
  EXPECT_EQ(peaks.kernels, kernels::best().name);
  EXPECT_GT(peaks.flops_per_second, 1e8 * pool.size());
  EXPECT_LT(peaks.flops_per_second, 1e12 * pool.size());
  EXPECT_GT(peaks.bytes_per_second, 1e8);
  EXPECT_LT(peaks.bytes_per_second, 5e12);
  RecordProperty("gflops", static_cast<int>(peaks.flops_per_second / 1e9));
  RecordProperty("gbs", static_cast<int>(peaks.bytes_per_second / 1e9));
}

TEST(Machine, MeasuresTheKernelsItIsGiven) {
  ThreadPool pool(1);
  const double best = measure_peak_flops(pool, kernels::best());
  const double scalar = measure_peak_flops(pool, *kernels::find("scalar"));
  // Noise of a shared machine cannot hide the factor between scalar and vectors.
  EXPECT_GE(best, 0.5 * scalar);
}

}  // namespace
}  // namespace frugal
