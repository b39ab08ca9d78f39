// What this process has used so far, from the operating system.
#pragma once

#include <cstdint>
#include <filesystem>

namespace frugal {

// User and system time of all threads; with_children adds processes that ended and were waited for.
double process_cpu_seconds(bool with_children = false);

struct ProcessMemory {
  int64_t resident_bytes = 0;
  int64_t peak_resident_bytes = 0;  // since the process began
};
// From `proc`/statm and `proc`/status (normally /proc/self). Error when they cannot be read.
ProcessMemory process_memory(const std::filesystem::path& proc = "/proc/self");

double steady_seconds();  // wall clock that never steps

}  // namespace frugal
