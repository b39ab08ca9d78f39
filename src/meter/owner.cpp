#include "meter/owner.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"

namespace frugal {
namespace {

// Field 22 of /proc/PID/stat; 0 when there is no such process (or it is a zombie, which does nothing any
// more). The second field, the name in parentheses, may contain anything.
int64_t start_ticks(int64_t process) {
  std::string stat;
  try {
    stat = read_file(fmt::format("/proc/{}/stat", process));
  } catch (const Error&) {
    return 0;
  }
  size_t at = stat.rfind(')');
  if (at == std::string::npos || at + 2 >= stat.size() || stat[at + 2] == 'Z') return 0;
  constexpr int kFieldsAfterName = 20;  // state is field 3
  for (int i = 0; i < kFieldsAfterName && at != std::string::npos; ++i) at = stat.find(' ', at + 1);
  int64_t ticks = 0;
  if (at == std::string::npos) return 0;
  std::from_chars(stat.data() + at + 1, stat.data() + stat.size(), ticks);
  return ticks;
}

std::string boot_id() {
  try {
    std::string text = read_file("/proc/sys/kernel/random/boot_id");
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

Owner this_process() {
  Owner owner;
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0) owner.host = name.data();
  std::error_code error;
  owner.host += " " + fs::read_symlink("/proc/self/ns/pid", error).string();
  owner.boot = boot_id();
  owner.process = ::getpid();
  owner.started = start_ticks(owner.process);
  return owner;
}

bool is_dead(const Owner& owner, const Owner& here) {
  if (owner.host != here.host) return false;
  if (owner.boot != here.boot) return true;
  return start_ticks(owner.process) != owner.started;
}

}  // namespace frugal
