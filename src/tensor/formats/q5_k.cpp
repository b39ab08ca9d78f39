// GGUF Q5_K: as Q4_K, with 32 bytes between scales and nibbles that hold the fifth bits (value 32 j + l in
// bit j of byte l).
#include <algorithm>

#include "tensor/format.h"
#include "tensor/formats/half.h"
#include "tensor/formats/k_block.h"

namespace frugal::formats {
namespace {

constexpr int64_t kBytes = 4 + 12 + 32 + 128;
constexpr AffineLayout kLayout{.sub_block = 32, .high = 31, .scale_high = 63};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kSuperBlock, from += kBytes, to += kSuperBlock) {
    const float d = load_half(from), dmin = load_half(from + 2);
    uint8_t scales[8], minima[8];
    unpack_six_bits(from + 4, scales, minima);
    for (int j = 0; j < 8; ++j) {
      const float scale = d * scales[j], minimum = dmin * minima[j];
      for (int l = 0; l < 32; ++l) {
        const std::byte both = from[48 + j / 2 * 32 + l];
        const int fifth = std::to_integer<int>(from[16 + l]) >> j & 1;
        const int q = (j % 2 == 0 ? low_nibble(both) : high_nibble(both)) | fifth << 4;
        to[32 * j + l] = scale * static_cast<float>(q) - minimum;
      }
    }
  }
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kSuperBlock, to += kBytes) {
    const AffineBlock block = fit_affine_block(from + i, block_weights(importance, i, kSuperBlock), kLayout);
    store_half(to, block.d);
    store_half(to + 2, block.dmin);
    pack_six_bits(block.scale.data(), block.minimum.data(), to + 4);
    std::fill_n(to + 16, 32, std::byte{0});
    for (size_t v = 0; v < kSuperBlock; ++v) {
      to[16 + v % 32] |= std::byte{static_cast<uint8_t>((block.q[v] >> 4) << (v / 32))};
    }
    pack_nibble_rows(block.q.data(), to + 48);
  }
}

}  // namespace

extern const Format q5_k{.name = "q5_k",
                         .ggml = 13,
                         .block = kSuperBlock,
                         .block_bytes = kBytes,
                         .substitute = &q5_1,
                         .blocks = kernels::Blocks::q5_k,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
