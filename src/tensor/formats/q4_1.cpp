// GGUF Q4_1: blocks of 32, an f16 scale d, an f16 minimum m and 16 bytes of nibbles q; value = d q + m.
#include "tensor/format.h"
#include "tensor/formats/fit.h"
#include "tensor/formats/half.h"

namespace frugal::formats {
namespace {

constexpr int kBlock = 32;
constexpr int64_t kBytes = 4 + kBlock / 2;
constexpr Grid kGrid{0, 15};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kBlock, from += kBytes) {
    const float scale = load_half(from), minimum = load_half(from + 2);
    for (int j = 0; j < kBlock / 2; ++j) {
      to[i + j] = scale * static_cast<float>(low_nibble(from[4 + j])) + minimum;
      to[i + kBlock / 2 + j] = scale * static_cast<float>(high_nibble(from[4 + j])) + minimum;
    }
  }
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kBlock, to += kBytes) {
    const float* w = block_weights(importance, i, kBlock);
    const Affine fit = round_to_half(from + i, w, kBlock, kGrid,
                                     fit_affine(from + i, w, kBlock, kGrid.high, /*negative_offset=*/false));
    uint8_t q[kBlock];
    to_grid(from + i, kBlock, kGrid, fit.scale, fit.offset, q);
    store_half(to, fit.scale);
    store_half(to + 2, fit.offset);
    pack_nibbles(q, to + 4);
  }
}

}  // namespace

extern const Format q4_1{.name = "q4_1",
                         .ggml = 3,
                         .block = kBlock,
                         .block_bytes = kBytes,
                         .substitute = &f16,
                         .blocks = kernels::Blocks::q4_1,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
