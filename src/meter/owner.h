// Which process a ledger row belongs to, told apart from later ones that reuse its number. Private to the
// module.
#pragma once

#include <cstdint>
#include <string>

namespace frugal {

struct Owner {
  std::string host;  // machine and process-number namespace: numbers compare only within one
  std::string boot;  // changes with every boot
  int64_t process = 0;
  int64_t started = 0;  // clock ticks after boot, from /proc/PID/stat
};

Owner this_process();
// Whether `owner` is certainly gone. What runs on another machine or in another container is not.
bool is_dead(const Owner& owner, const Owner& here);

}  // namespace frugal
