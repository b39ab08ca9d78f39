// The model of energy for machines whose counters cannot be read (most virtual machines). It gives an
// interval, since published point estimates disagree by factors of two:
//
//   E = processor-seconds * TDP/threads * [0.3, 1.3]  +  GB*s * [0.1, 0.4] W/GB,   times PUE in [1.1, 1.6]
//
// TDP and threads are the whole processor's, so that a guest pays for its share. Where the maker publishes a
// turbo power above 1.3 TDP, the upper bound uses that.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "meter/bill.h"
#include "meter/prices.h"

namespace frugal {

// Power that one busy hardware thread may draw.
struct CpuPower {
  std::string name;    // as the machine names it
  std::string source;  // what the figures rest on, for people
  double low_watts = 0, high_watts = 0;
};

// From the text of /proc/cpuinfo and the user's overrides.
CpuPower cpu_power(std::string_view cpuinfo, std::optional<double> tdp_watts, std::optional<int64_t> threads);

// A processor of the table: figures its maker publishes. turbo_watts is 0 where none is published.
struct CpuSpec {
  std::string_view pattern;  // what its name contains, as a whole word
  double tdp_watts, turbo_watts;
  int threads;
};
// A family, for names that do not tell the model: TDP over threads, lowest to highest among its members.
struct CpuFamily {
  std::string_view pattern;
  double low_watts_per_thread, high_watts_per_thread;
};
std::span<const CpuSpec> cpu_specs();
std::span<const CpuFamily> cpu_families();  // the last matches every name

// The interval without PUE of memory alone, and with PUE of everything.
Joules memory_energy(double gb_seconds);
Joules modelled_energy(const CpuPower& cpu, double cpu_seconds, double gb_seconds, std::optional<double> pue);

}  // namespace frugal
