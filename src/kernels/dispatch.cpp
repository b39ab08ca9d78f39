#include "kernels/dispatch.h"

#include <fmt/ranges.h>

#include <string>

#include "core/error.h"

namespace frugal::kernels {

// The tables that CMakeLists.txt builds, one per namespace.
namespace scalar {
extern const Table table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Table table;
}
namespace avx512 {
extern const Table table;
}
namespace avx512bf16 {
extern const Table table;
}
#elif defined(__aarch64__)
namespace neon {
extern const Table table;
}
#endif

namespace {

struct Target {
  const Table* table;
  bool supported;
};

// All tables in the binary, slowest first. The builtins also ask whether the system saves the wide registers.
std::vector<Target> all_targets() {
  std::vector<Target> targets = {{&scalar::table, true}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  targets.push_back({&avx2::table, avx2});
  targets.push_back({&avx512::table, avx512});
  targets.push_back({&avx512bf16::table, bf16});
#elif defined(__aarch64__)
  targets.push_back({&neon::table, true});
#endif
  return targets;
}

}  // namespace

const std::vector<const Table*>& available() {
  static const std::vector<const Table*> tables = [] {
    std::vector<const Table*> found;
    for (const Target& target : all_targets()) {
      if (target.supported) found.push_back(target.table);
    }
    return found;
  }();
  return tables;
}

const Table* find(std::string_view name) {
  for (const Table* table : available()) {
    if (name == table->name) return table;
  }
  return nullptr;
}

const Table& best() {
  return *available().back();
}

const Table& select(std::string_view forced) {
  if (forced.empty()) return best();
  std::vector<std::string> names;
  for (const Target& target : all_targets()) {
    if (forced != target.table->name) {
      names.emplace_back(target.table->name);
    } else if (target.supported) {
      return *target.table;
    } else {
      fail("kernels '{}': this machine lacks the instructions; it can run up to '{}'", forced, best().name);
    }
  }
  fail_usage("kernels '{}': unknown instruction set; expected one of {}", forced, fmt::join(names, ", "));
}

}  // namespace frugal::kernels
