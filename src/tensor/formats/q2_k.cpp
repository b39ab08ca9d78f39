// GGUF Q2_K: super-blocks of 256 in sub-blocks of 16. 16 bytes of scales (lower half) and minima (upper
// half), 64 bytes of 2-bit values (k_block.h), f16 d and dmin; value = d scale q - dmin minimum.
#include <algorithm>

#include "tensor/format.h"
#include "tensor/formats/half.h"
#include "tensor/formats/k_block.h"

namespace frugal::formats {
namespace {

constexpr int64_t kBytes = 16 + 64 + 4;
constexpr AffineLayout kLayout{.sub_block = 16, .high = 3, .scale_high = 15};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kSuperBlock, from += kBytes, to += kSuperBlock) {
    const float d = load_half(from + 80), dmin = load_half(from + 82);
    for (int v = 0; v < kSuperBlock; ++v) {
      const std::byte both = from[v / 16];
      const float scale = d * static_cast<float>(low_nibble(both));
      const float minimum = dmin * static_cast<float>(high_nibble(both));
      to[v] = scale * static_cast<float>(pair_at(from + 16, v)) - minimum;
    }
  }
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kSuperBlock, to += kBytes) {
    const AffineBlock block = fit_affine_block(from + i, block_weights(importance, i, kSuperBlock), kLayout);
    for (size_t j = 0; j < 16; ++j) {
      to[j] = std::byte{static_cast<uint8_t>(block.scale[j] | block.minimum[j] << 4)};
    }
    std::fill_n(to + 16, 64, std::byte{0});
    pack_pairs(block.q.data(), to + 16);
    store_half(to + 80, block.d);
    store_half(to + 82, block.dmin);
  }
}

}  // namespace

extern const Format q2_k{.name = "q2_k",
                         .ggml = 10,
                         .block = kSuperBlock,
                         .block_bytes = kBytes,
                         .substitute = &iq4_nl,
                         .blocks = kernels::Blocks::q2_k,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
