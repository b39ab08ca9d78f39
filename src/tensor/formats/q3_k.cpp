// GGUF Q3_K: super-blocks of 256 in sub-blocks of 16. 32 bytes with the third bit of all values (value
// 32 k + l in bit k of byte l), 64 bytes of their lower two (k_block.h), 16 scales of 6 bits in 12 bytes, f16
// d; value = d (scale - 32) (q - 4).
#include <algorithm>

#include "tensor/format.h"
#include "tensor/formats/half.h"
#include "tensor/formats/k_block.h"

namespace frugal::formats {
namespace {

constexpr int64_t kBytes = 32 + 64 + 12 + 2;
constexpr ScaledLayout kLayout{.values = {-4, 3}, .scales = {-32, 31}};

// Lower halves of the scales in 8 bytes (j and j + 8 together), then upper two bits, four scales in a byte.
int scale_at(const std::byte* packed, int j) {
  const std::byte low = packed[j % 8];
  const int upper = std::to_integer<int>(packed[8 + j % 4]) >> (j / 4 * 2) & 3;
  return ((j < 8 ? low_nibble(low) : high_nibble(low)) | upper << 4) - 32;
}

void pack_scales(const std::array<int8_t, 16>& scale, std::byte* to) {
  std::fill_n(to, 12, std::byte{0});
  for (int j = 0; j < 16; ++j) {
    const int code = scale[static_cast<size_t>(j)] + 32;
    to[j % 8] |= std::byte{static_cast<uint8_t>((code & 15) << (j / 8 * 4))};
    to[8 + j % 4] |= std::byte{static_cast<uint8_t>((code >> 4) << (j / 4 * 2))};
  }
}

void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; i += kSuperBlock, from += kBytes, to += kSuperBlock) {
    const float d = load_half(from + 108);
    for (int v = 0; v < kSuperBlock; ++v) {
      const float scale = d * static_cast<float>(scale_at(from + 96, v / 16));
      const int third = std::to_integer<int>(from[v % 32]) >> (v / 32) & 1;
      to[v] = scale * static_cast<float>((pair_at(from + 32, v) | third << 2) - 4);
    }
  }
}

void encode(const float* from, std::byte* to, int64_t values, const float* importance) {
  for (int64_t i = 0; i < values; i += kSuperBlock, to += kBytes) {
    const ScaledBlock block = fit_scaled_block(from + i, block_weights(importance, i, kSuperBlock), kLayout);
    std::fill_n(to, 96, std::byte{0});
    for (size_t v = 0; v < kSuperBlock; ++v) {
      to[v % 32] |= std::byte{static_cast<uint8_t>((block.q[v] >> 2) << (v / 32))};
    }
    pack_pairs(block.q.data(), to + 32);
    pack_scales(block.scale, to + 96);
    store_half(to + 108, block.d);
  }
}

}  // namespace

extern const Format q3_k{.name = "q3_k",
                         .ggml = 11,
                         .block = kSuperBlock,
                         .block_bytes = kBytes,
                         .substitute = &iq4_nl,
                         .blocks = kernels::Blocks::q3_k,
                         .decode = decode,
                         .encode_weighted = encode};

}  // namespace frugal::formats
