// libFuzzer's entry; FRUGAL_FUZZ_TARGET names the target that this program is built for.
#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const frugal::fuzz::Target& target = [&]() -> const frugal::fuzz::Target& {
    const auto all = frugal::fuzz::all_targets();
    const auto it = std::ranges::find(all, FRUGAL_FUZZ_TARGET, &frugal::fuzz::Target::name);
    CHECK(it != all.end(), "no target {}", FRUGAL_FUZZ_TARGET);
    return *it;
  }();
  target.run({reinterpret_cast<const char*>(data), size});
  return 0;
}
