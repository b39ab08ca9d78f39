// IEEE 754 half precision, converted in software: exact both ways, subnormals included, round to nearest
// even.
#include <bit>
#include <cmath>
#include <cstring>

#include "tensor/format.h"

namespace frugal::formats {

static float from_half(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1f, mantissa = half & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

static uint16_t to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00);  // rounds to infinity
  if (magnitude < 0x1p-14f) {  // subnormal: units of 2^-24; nearbyint rounds to even
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24))));
  }
  const uint32_t b = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = b + 0xfff + ((b >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

static void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    to[i] = from_half(half);
  }
}

static void encode(const float* from, std::byte* to, int64_t values) {
  for (int64_t i = 0; i < values; ++i) {
    const uint16_t half = to_half(from[i]);
    std::memcpy(to + 2 * i, &half, 2);
  }
}

extern const Format f16{"f16", "F16", 1, 2, decode, encode};

}  // namespace frugal::formats
