// GGUF Q4_0: blocks of 32, an f16 scale d and 16 bytes of nibbles q; value = d (q - 8).
#include "tensor/format.h"
#include "tensor/formats/fit.h"
#include "tensor/formats/half.h"

namespace frugal::formats {
namespace {

constexpr int kBlock = 32;
constexpr int64_t kBytes = 2 + kBlock / 2;
constexpr Grid kGrid{-8, 7};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kBlock, from += kBytes) {
    const float scale = load_half(from);
    for (int j = 0; j < kBlock / 2; ++j) {
      to[i + j] = scale * static_cast<float>(low_nibble(from[2 + j]) - 8);
      to[i + kBlock / 2 + j] = scale * static_cast<float>(high_nibble(from[2 + j]) - 8);
    }
  }
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kBlock, to += kBytes) {
    const float* w = block_weights(importance, i, kBlock);
    const Affine fit{fit_scale(from + i, w, kBlock, kGrid), 0};
    const float scale = round_to_half(from + i, w, kBlock, kGrid, fit).scale;
    uint8_t q[kBlock];
    to_grid(from + i, kBlock, kGrid, scale, 0, q);
    store_half(to, scale);
    pack_nibbles(q, to + 2);
  }
}

}  // namespace

extern const Format q4_0{.name = "q4_0",
                         .ggml = 2,
                         .block = kBlock,
                         .block_bytes = kBytes,
                         .substitute = &f16,
                         .blocks = kernels::Blocks::q4_0,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
