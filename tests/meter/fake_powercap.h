// A directory that looks like /sys/class/powercap.
#pragma once

#include <cstdint>
#include <string>

#include "core/files.h"

namespace frugal {

class FakePowercap {
 public:
  explicit FakePowercap(const fs::path& root) : root_(root) { make_directories(root); }
  void zone(const std::string& directory, const std::string& name, uint64_t microjoules,
            uint64_t range = 262143328850) const {
    make_directories(root_ / directory);
    write_file_atomically(root_ / directory / "name", name + "\n");
    write_file_atomically(root_ / directory / "max_energy_range_uj", std::to_string(range) + "\n");
    set(directory, microjoules);
  }
  void set(const std::string& directory, uint64_t microjoules) const {
    write_file_atomically(root_ / directory / "energy_uj", std::to_string(microjoules) + "\n");
  }
  const fs::path& root() const { return root_; }

 private:
  fs::path root_;
};

}  // namespace frugal
