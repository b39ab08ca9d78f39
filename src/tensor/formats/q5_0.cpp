// GGUF Q5_0: blocks of 32, an f16 scale d, the fifth bits of all values in 4 bytes (value j in bit j) and 16
// bytes of nibbles; value = d (q - 16).
#include "tensor/format.h"
#include "tensor/formats/fit.h"
#include "tensor/formats/half.h"

namespace frugal::formats {
namespace {

constexpr int kBlock = 32;
constexpr int64_t kBytes = 6 + kBlock / 2;
constexpr Grid kGrid{-16, 15};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kBlock, from += kBytes) {
    const float scale = load_half(from);
    int q[kBlock];
    unpack_fifth_bits(from + 2, q);
    for (int j = 0; j < kBlock; ++j) to[i + j] = scale * static_cast<float>(q[j] - 16);
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
    pack_fifth_bits(q, to + 2);
  }
}

}  // namespace

extern const Format q5_0{.name = "q5_0",
                         .ggml = 6,
                         .block = kBlock,
                         .block_bytes = kBytes,
                         .substitute = &f16,
                         .blocks = kernels::Blocks::q5_0,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
