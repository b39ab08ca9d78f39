// OCP Microscaling MXFP4 as GGUF stores it: blocks of 32, one byte e of exponent and 16 bytes of nibbles,
// each a number of 1 sign, 2 exponent and 1 mantissa bits; value = 2^(e - 127) v. Code 8 (minus zero) decodes
// to zero. Encoding tries the exponents around that of the largest value.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "tensor/format.h"
#include "tensor/formats/fit.h"

namespace frugal::formats {
namespace {

constexpr int kBlock = 32;
constexpr int kLastExponent = 252;  // beyond it the largest code would be infinite
constexpr int64_t kBytes = 1 + kBlock / 2;
// Doubled, to be whole numbers; the scale is halved to match.
constexpr std::array<float, 16> kValues = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
// Between neighbours, to their code: 0..7 by how many of these a magnitude exceeds.
constexpr std::array<float, 7> kMiddles = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};

// 2^(e - 128), down to the subnormals 2^-128 and 2^-127.
float half_scale(int e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

int code_of(float value) {  // in units of half_scale
  int code = 0;
  for (const float middle : kMiddles) code += std::fabs(value) > middle ? 1 : 0;
  return code != 0 && value < 0 ? code | 8 : code;
}

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kBlock, from += kBytes) {
    const float scale = half_scale(std::to_integer<int>(from[0]));
    for (int j = 0; j < kBlock / 2; ++j) {
      to[i + j] = scale * kValues[static_cast<size_t>(low_nibble(from[1 + j]))];
      to[i + kBlock / 2 + j] = scale * kValues[static_cast<size_t>(high_nibble(from[1 + j]))];
    }
  }
}

double error_of(const float* x, const float* w, int e) {
  const double scale = half_scale(e);
  double error = 0;
  for (int j = 0; j < kBlock; ++j) {
    const double value = x[j] / scale;  // doubles: inverses of subnormals overflow an f32
    const double difference = value - kValues[static_cast<size_t>(code_of(static_cast<float>(value)))];
    error += w[j] * difference * difference;
  }
  return error * scale * scale;
}

int best_exponent(const float* x, const float* w) {
  float largest = 0;
  for (int j = 0; j < kBlock; ++j) largest = std::max(largest, std::fabs(x[j]));
  if (!(largest > 0) || !std::isfinite(largest)) return 0;
  int exponent = 0;
  std::frexp(largest, &exponent);            // largest in [2^(exponent - 1), 2^exponent)
  const int upper = exponent - 1 - 2 + 127;  // puts it between 4 and 8, where 6 is the last value
  int best = std::clamp(upper, 0, kLastExponent);
  double least = error_of(x, w, best);
  for (const int e : {upper + 1, upper - 1}) {
    if (e < 0 || e > kLastExponent) continue;
    const double error = error_of(x, w, e);
    if (error < least) least = error, best = e;
  }
  return best;
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kBlock, to += kBytes) {
    const int e = best_exponent(from + i, block_weights(importance, i, kBlock));
    const double scale = half_scale(e);
    uint8_t q[kBlock];
    for (int j = 0; j < kBlock; ++j) {
      q[j] = static_cast<uint8_t>(code_of(static_cast<float>(from[i + j] / scale)));
    }
    to[0] = std::byte{static_cast<uint8_t>(e)};
    pack_nibbles(q, to + 1);
  }
}

}  // namespace

extern const Format mxfp4{.name = "mxfp4",
                          .ggml = 39,
                          .block = kBlock,
                          .block_bytes = kBytes,
                          .substitute = &f16,
                          .blocks = kernels::Blocks::mxfp4,
                          .decode = decode,
                          .encode_weighted = encode};

}  // namespace frugal::formats
