// GGUF Q8_0: blocks of 32, an f16 scale d and 32 signed bytes q; value = d q. The scale puts the largest
// value at 127: with this many steps a search gains nothing.
#include <algorithm>
#include <cmath>

#include "tensor/format.h"
#include "tensor/formats/fit.h"
#include "tensor/formats/half.h"

namespace frugal::formats {
namespace {

constexpr int kBlock = 32;
constexpr int64_t kBytes = 2 + kBlock;
constexpr Grid kGrid{-127, 127};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kBlock, from += kBytes) {
    const float scale = load_half(from);
    for (int j = 0; j < kBlock; ++j) to[i + j] = static_cast<float>(static_cast<int8_t>(from[2 + j])) * scale;
  }
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kBlock, to += kBytes) {
    const float* w = block_weights(importance, i, kBlock);
    float largest = 0;
    for (int j = 0; j < kBlock; ++j) largest = std::max(largest, std::fabs(from[i + j]));
    const float scale = round_to_half(from + i, w, kBlock, kGrid, {largest / 127, 0}).scale;
    uint8_t q[kBlock];
    to_grid(from + i, kBlock, kGrid, scale, 0, q);
    store_half(to, scale);
    for (int j = 0; j < kBlock; ++j) to[2 + j] = std::byte{static_cast<uint8_t>(q[j] + kGrid.low)};
  }
}

}  // namespace

extern const Format q8_0{.name = "q8_0",
                         .ggml = 8,
                         .block = kBlock,
                         .block_bytes = kBytes,
                         .substitute = &f16,
                         .blocks = kernels::Blocks::q8_0,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
