// Powers of two as OCP Microscaling's block factors store them: a byte e is 2^(e - 127), 255 is NaN.
#include <bit>
#include <limits>

#include "tensor/format.h"

namespace frugal::formats {
namespace {

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; ++i) {
    const auto e = std::to_integer<uint32_t>(from[i]);
    to[i] = e == 255 ? std::numeric_limits<float>::quiet_NaN()
                     : std::bit_cast<float>(e == 0 ? 0x00400000u : e << 23);  // 2^-127 is subnormal
  }
}

}  // namespace

extern const Format f8_e8m0{.name = "f8_e8m0", .block_bytes = 1, .decode = decode};

}  // namespace frugal::formats
