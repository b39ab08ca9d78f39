// GGUF Q6_K: super-blocks of 256 in sub-blocks of 16. 128 bytes with the lower 4 bits of the values (value
// 128 h + 64 s + l in half s of byte 64 h + l), 64 bytes with their upper two (k_block.h), 16 signed bytes of
// scales, f16 d; value = d scale (q - 32).
#include <algorithm>

#include "tensor/format.h"
#include "tensor/formats/half.h"
#include "tensor/formats/k_block.h"

namespace frugal::formats {
namespace {

constexpr int64_t kBytes = 128 + 64 + 16 + 2;
constexpr ScaledLayout kLayout{.values = {-32, 31}, .scales = {-128, 127}};

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kSuperBlock, from += kBytes, to += kSuperBlock) {
    const float d = load_half(from + 208);
    for (int v = 0; v < kSuperBlock; ++v) {
      const float scale = d * static_cast<float>(static_cast<int8_t>(from[192 + v / 16]));
      const std::byte both = from[v / 128 * 64 + v % 64];
      const int low = v / 64 % 2 == 0 ? low_nibble(both) : high_nibble(both);
      to[v] = scale * static_cast<float>((low | pair_at(from + 128, v) << 4) - 32);
    }
  }
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kSuperBlock, to += kBytes) {
    const ScaledBlock block = fit_scaled_block(from + i, block_weights(importance, i, kSuperBlock), kLayout);
    std::fill_n(to, 192, std::byte{0});
    uint8_t upper[kSuperBlock];
    for (size_t v = 0; v < kSuperBlock; ++v) {
      to[v / 128 * 64 + v % 64] |= std::byte{static_cast<uint8_t>((block.q[v] & 15) << (v / 64 % 2 * 4))};
      upper[v] = block.q[v] >> 4;
    }
    pack_pairs(upper, to + 128);
    for (size_t j = 0; j < 16; ++j) to[192 + j] = std::byte{static_cast<uint8_t>(block.scale[j])};
    store_half(to + 208, block.d);
  }
}

}  // namespace

extern const Format q6_k{.name = "q6_k",
                         .ggml = 14,
                         .block = kSuperBlock,
                         .block_bytes = kBytes,
                         .substitute = &q8_0,
                         .blocks = kernels::Blocks::q6_k,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
