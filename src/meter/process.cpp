#include "meter/process.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>

#include "core/error.h"
#include "core/files.h"

namespace frugal {
namespace {

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

// "VmHWM:	  1234 kB" -> bytes.
int64_t status_bytes(const std::string& status, std::string_view key, const fs::path& path) {
  const size_t at = status.find(key);
  if (at != std::string::npos) {
    const size_t digit = status.find_first_of("0123456789", at + key.size());
    int64_t kilobytes = 0;
    if (digit != std::string::npos &&
        std::from_chars(status.data() + digit, status.data() + status.size(), kilobytes).ec == std::errc{}) {
      return kilobytes * 1024;
    }
  }
  fail("{}: no line '{}'; cannot tell memory use", path.string(), key);
}

}  // namespace

double process_cpu_seconds(bool with_children) {
  rusage own{}, children{};
  CHECK(::getrusage(RUSAGE_SELF, &own) == 0);
  if (with_children) CHECK(::getrusage(RUSAGE_CHILDREN, &children) == 0);
  return seconds(own.ru_utime) + seconds(own.ru_stime) + seconds(children.ru_utime) +
         seconds(children.ru_stime);
}

ProcessMemory process_memory(const fs::path& proc) {
  const fs::path path = proc / "status";
  const std::string status = read_file(path);
  ProcessMemory memory;
  memory.resident_bytes = status_bytes(status, "\nVmRSS:", path);
  // The kernel counts lazily, per thread; the peak may lag behind what is resident now.
  memory.peak_resident_bytes = std::max(status_bytes(status, "\nVmHWM:", path), memory.resident_bytes);
  return memory;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace frugal
