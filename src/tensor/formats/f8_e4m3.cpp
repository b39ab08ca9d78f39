// FP8 with 4 bits of exponent and 3 of mantissa, the OCP form without infinities (largest 448, 0x7f and 0xff
// are NaN). One code per value; the factors of blocks that published weights carry beside it are
// block_scales.h. Encoding rounds to nearest even and saturates.
#include <array>
#include <bit>
#include <cmath>

#include "tensor/format.h"

namespace frugal::formats {
namespace {

constexpr float kLargest = 448;

constexpr float value_of(unsigned code) {
  const float sign = (code & 0x80) != 0 ? -1.0f : 1.0f;
  const unsigned exponent = (code >> 3) & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(0x7fc00000u | (code >> 7) << 31);
  if (exponent == 0) return sign * static_cast<float>(mantissa) * 0x1p-9f;
  return sign * std::bit_cast<float>(((exponent + 120) << 23) | (mantissa << 20));
}

constexpr std::array<float, 256> kValues = [] {
  std::array<float, 256> table{};
  for (unsigned code = 0; code < 256; ++code) table[code] = value_of(code);
  return table;
}();

uint8_t code_of(float value) {
  const auto sign = static_cast<uint8_t>(std::bit_cast<uint32_t>(value) >> 24 & 0x80);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7f;
  if (magnitude >= kLargest) return sign | 0x7e;
  if (magnitude < 0x1p-6f) return sign | static_cast<uint8_t>(std::nearbyint(magnitude * 0x1p9f));
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7ffff + ((bits >> 20) & 1);
  return sign | static_cast<uint8_t>((rounded >> 20) - (120u << 3));
}

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; ++i) to[i] = kValues[std::to_integer<size_t>(from[i])];
}

void encode(const float* from, std::byte* to, int64_t values, const float*) {
  for (int64_t i = 0; i < values; ++i) to[i] = std::byte{code_of(from[i])};
}

}  // namespace

extern const Format f8_e4m3{.name = "f8_e4m3",
                            .safetensors = "F8_E4M3",
                            .block_bytes = 1,
                            .decode = decode,
                            .encode_weighted = encode};

}  // namespace frugal::formats
