// The machine's own bounds, against which speed is judged: f32 multiply-adds a second and bytes read from
// memory a second, over all threads of a pool. Measured in under a second, never stored: clocks and
// neighbours change.
#pragma once

#include <string>

#include "core/thread_pool.h"

namespace frugal {

namespace kernels {
struct Table;
}

struct MachinePeaks {
  double flops_per_second = 0;  // a multiply-add counts as two
  double bytes_per_second = 0;  // reading memory larger than the caches
  int threads = 0;
  std::string kernels;  // the instruction set used
};

// Each takes about 0.3 s. Reading needs a buffer of 256 MB (more where the caches are larger), which counts
// towards the process's peak memory.
double measure_peak_flops(ThreadPool& pool, const kernels::Table& table);
double measure_read_bandwidth(ThreadPool& pool, const kernels::Table& table);
MachinePeaks measure_machine(ThreadPool& pool, const kernels::Table& table);

}  // namespace frugal
