// The 4-bit numbers of OCP Microscaling's MXFP4 alone: 1 sign, 2 exponent and 1 mantissa bits, two to a byte,
// the first in the lower half. So Hugging Face stores MXFP4 weights, the exponents of their blocks lying in a
// tensor of their own (block_scales.h); GGUF's mxfp4 has both together and another order.
#include <array>

#include "tensor/format.h"
#include "tensor/formats/fit.h"

namespace frugal::formats {
namespace {

constexpr std::array<float, 16> kValues = {0,     0.5f,  1,     1.5f,  2,     3,     4,     6,
                                           -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += 2, ++from) {
    to[i] = kValues[static_cast<size_t>(low_nibble(*from))];
    to[i + 1] = kValues[static_cast<size_t>(high_nibble(*from))];
  }
}

}  // namespace

extern const Format f4_e2m1{.name = "f4_e2m1", .block = 2, .block_bytes = 1, .decode = decode};

}  // namespace frugal::formats
