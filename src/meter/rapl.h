// Energy counters of Intel and AMD processors (RAPL) as Linux's powercap shows them: microjoules that wrap at
// max_energy_range_uj, after minutes under load, so sample() must be called more often than that.
//
// Read are the packages and their dram zones. Never added: core and uncore (parts of the package), psys
// (contains it) and the memory-mapped twin of a package (intel-rapl-mmio). The counters see everything that
// runs on the package.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace frugal {

class Rapl {
 public:
  // Takes the zones under `powercap` (normally /sys/class/powercap) and a first reading at time `now` (any
  // steady seconds). Never throws: what cannot be read is told by reason().
  Rapl(const std::filesystem::path& powercap, double now);

  // At least one package is readable and none has failed since.
  bool available() const { return !zones_.empty() && reason_.empty(); }
  // Why not available; for people.
  const std::string& reason() const { return reason_; }
  // Every package has a dram zone, so joules() includes memory.
  bool has_dram() const { return has_dram_; }
  // "package-0, dram": what joules() adds up.
  std::string zones() const;

  void sample(double now);
  // Since construction, up to the last sample.
  double joules() const;

 private:
  struct Zone {
    std::filesystem::path counter;
    std::string name;
    uint64_t range = 0;  // microjoules at which the counter starts again from 0
    uint64_t last = 0;
    double microjoules = 0;
  };
  void add_package(const std::filesystem::path& directory, const std::string& name);
  bool add_zone(const std::filesystem::path& directory, const std::string& name);

  std::vector<Zone> zones_;
  std::string reason_;
  bool has_dram_ = true;
  double last_time_ = 0;
};

}  // namespace frugal
