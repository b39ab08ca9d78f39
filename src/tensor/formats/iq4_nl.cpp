// GGUF IQ4_NL: blocks of 32, an f16 scale d and 16 bytes of nibbles that select from a fixed list of 16
// numbers, denser around zero; value = d list[q].
#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/format.h"
#include "tensor/formats/fit.h"
#include "tensor/formats/half.h"

namespace frugal::formats {
namespace {

constexpr int kBlock = 32;
constexpr int64_t kBytes = 2 + kBlock / 2;
constexpr std::array<float, 16> kValues = {-127, -104, -83, -65, -49, -35, -22, -10,
                                           1,    13,   25,  38,  53,  69,  89,  113};

int code_of(float value) {
  int code = 0;
  for (size_t i = 0; i + 1 < kValues.size(); ++i) code += value > (kValues[i] + kValues[i + 1]) / 2 ? 1 : 0;
  return code;
}

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kBlock, from += kBytes) {
    const float scale = load_half(from);
    for (int j = 0; j < kBlock / 2; ++j) {
      to[i + j] = scale * kValues[static_cast<size_t>(low_nibble(from[2 + j]))];
      to[i + kBlock / 2 + j] = scale * kValues[static_cast<size_t>(high_nibble(from[2 + j]))];
    }
  }
}

// sum w x v and sum w v^2 of the nearest list values v for a scale 1 / inverse.
struct Products {
  float xv = 0, vv = 0;
  float gain() const { return vv > 0 ? xv * (xv / vv) : 0; }
};
Products products(const float* x, const float* w, float inverse) {
  Products p;
  for (int j = 0; j < kBlock; ++j) {
    const float v = kValues[static_cast<size_t>(code_of(x[j] * inverse))];
    p.xv += w[j] * v * x[j];
    p.vv += w[j] * v * v;
  }
  return p;
}

// The list is lopsided, so the largest value is tried at either end, and beside it.
float best_scale(const float* x, const float* w) {
  float largest = 0;
  for (int j = 0; j < kBlock; ++j) largest = std::max(largest, std::fabs(x[j]));
  if (!(largest > 1e-30f)) return 0;
  if (!(largest < 65504.0f * 113)) return 65504;
  Products best;
  const auto attempt = [&](float inverse) {
    const Products p = products(x, w, inverse);
    if (p.gain() > best.gain()) best = p;
  };
  for (const float end : kValues) attempt(end / largest);
  for (float end = 78; end <= 142; end += 8) {
    attempt(end / largest);
    attempt(-end / largest);
  }
  for (int round = 0; round < 3 && best.xv != 0; ++round) {
    const float before = best.gain();
    attempt(best.vv / best.xv);
    if (!(best.gain() > before)) break;
  }
  return best.vv > 0 ? best.xv / best.vv : 0;
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kBlock, to += kBytes) {
    store_half(to, best_scale(from + i, block_weights(importance, i, kBlock)));
    const float scale = load_half(to), inverse = scale != 0 ? 1 / scale : 0;
    uint8_t q[kBlock];
    for (int j = 0; j < kBlock; ++j) q[j] = static_cast<uint8_t>(code_of(from[i + j] * inverse));
    pack_nibbles(q, to + 2);
  }
}

}  // namespace

extern const Format iq4_nl{.name = "iq4_nl",
                           .ggml = 20,
                           .block = kBlock,
                           .block_bytes = kBytes,
                           .substitute = &f16,
                           .blocks = kernels::Blocks::iq4_nl,
                           .decode = decode,
                           .encode_weighted = encode};

}  // namespace frugal::formats
