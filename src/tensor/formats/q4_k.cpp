// GGUF Q4_K: super-blocks of 256 in sub-blocks of 32. f16 d and dmin, 8 scales and minima of 6 bits in 12
// bytes, 128 bytes of nibbles (k_block.h); value = d scale q - dmin minimum.
#include "tensor/format.h"
#include "tensor/formats/half.h"
#include "tensor/formats/k_block.h"

namespace frugal::formats {
namespace {

constexpr int64_t kBytes = 4 + 12 + 128;
constexpr AffineLayout kLayout{.sub_block = 32, .high = 15, .scale_high = 63};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kSuperBlock, from += kBytes, to += kSuperBlock) {
    const float d = load_half(from), dmin = load_half(from + 2);
    uint8_t scales[8], minima[8];
    unpack_six_bits(from + 4, scales, minima);
    for (int j = 0; j < 8; ++j) {
      const float scale = d * scales[j], minimum = dmin * minima[j];
      for (int l = 0; l < 32; ++l) {
        const std::byte both = from[16 + j / 2 * 32 + l];
        to[32 * j + l] =
            scale * static_cast<float>(j % 2 == 0 ? low_nibble(both) : high_nibble(both)) - minimum;
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
    pack_nibble_rows(block.q.data(), to + 16);
  }
}

}  // namespace

extern const Format q4_k{.name = "q4_k",
                         .ggml = 12,
                         .block = kSuperBlock,
                         .block_bytes = kBytes,
                         .substitute = &q5_0,
                         .blocks = kernels::Blocks::q4_k,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
