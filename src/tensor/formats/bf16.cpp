// bfloat16: the upper half of an f32, rounded to nearest even on the way in. NaN stays NaN.
#include <bit>
#include <cmath>
#include <cstring>

#include "tensor/format.h"

namespace frugal::formats {

static void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    to[i] = std::bit_cast<float>(uint32_t{half} << 16);
  }
}

static void encode(const float* from, std::byte* to, int64_t values, const float*) {
  for (int64_t i = 0; i < values; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(from[i]);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    if (std::isnan(from[i])) rounded = (bits >> 16) | 0x40;  // rounding must not turn a NaN into infinity
    const auto half = static_cast<uint16_t>(rounded);
    std::memcpy(to + 2 * i, &half, 2);
  }
}

extern const Format bf16{.name = "bf16",
                         .safetensors = "BF16",
                         .ggml = 30,
                         .block_bytes = 2,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
