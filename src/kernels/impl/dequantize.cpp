// Decodes block formats to f32, the same bits as tensor/formats: blocks that follow one another are the lanes
// of what quant_blocks.h unpacks, and a square of values is transposed at a time.
#include "kernels/impl/quant_blocks.h"
#include "kernels/impl/transpose.h"
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// kLanes blocks at `from` into kLanes x kValues floats.
template <class Format>
static void decode_blocks(const uint8_t* from, float* to) {
  constexpr int kParts = Format::kValues / 32, kScales = 32 / Format::kScaled;
  IntVec unpacked[kParts * kBlockVectors<Format>];
  Format::run(from, Format::kBytes, unpacked);
  for (int part = 0; part < kParts; ++part) {
    const IntVec* block = unpacked + part * kBlockVectors<Format>;
    for (int first = 0; first < 32; first += kLanes) {
      const int scaled = first / Format::kScaled;
      const Vec scale = (Vec)block[8 + scaled];
      Vec values[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        const IntVec codes = block[(first + i) / 4];
        IntVec code = Format::kSigned ? signed_byte_of(codes, i % 4) : byte_of(codes, i % 4);
        if constexpr (Format::kZeroShift != kNone) code -= 1 << Format::kZeroShift;
        values[i] = scale * to_float(code);
        if constexpr (Format::kOffset) values[i] = values[i] + (Vec)block[8 + kScales + scaled];
      }
      transpose(values);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + i * Format::kValues + 32 * part + first, values[i]);
    }
  }
}

template <Blocks format>
static void decode_all(int64_t values, const uint8_t* from, float* to) {
  using Format = Unpack<format>;
  int64_t blocks = values / Format::kValues;
  for (; blocks >= kLanes; blocks -= kLanes) {
    decode_blocks<Format>(from, to);
    from += kLanes * Format::kBytes;
    to += kLanes * Format::kValues;
  }
  if (blocks == 0) return;
  uint8_t last[kLanes * Format::kBytes] = {};
  float decoded[kLanes * Format::kValues];
  __builtin_memcpy(last, from, static_cast<size_t>(blocks) * Format::kBytes);
  decode_blocks<Format>(last, decoded);
  __builtin_memcpy(to, decoded, static_cast<size_t>(blocks) * Format::kValues * sizeof(float));
}

}  // namespace

void dequantize(Blocks format, int64_t values, const void* from, float* to) {
  const uint8_t* const bytes = static_cast<const uint8_t*>(from);
  switch (format) {
    case Blocks::none:
      return;
    case Blocks::q8_0:
      return decode_all<Blocks::q8_0>(values, bytes, to);
    case Blocks::q4_0:
      return decode_all<Blocks::q4_0>(values, bytes, to);
    case Blocks::q4_1:
      return decode_all<Blocks::q4_1>(values, bytes, to);
    case Blocks::q5_0:
      return decode_all<Blocks::q5_0>(values, bytes, to);
    case Blocks::q5_1:
      return decode_all<Blocks::q5_1>(values, bytes, to);
    case Blocks::mxfp4:
      return decode_all<Blocks::mxfp4>(values, bytes, to);
    case Blocks::iq4_nl:
      return decode_all<Blocks::iq4_nl>(values, bytes, to);
    case Blocks::q2_k:
      return decode_all<Blocks::q2_k>(values, bytes, to);
    case Blocks::q3_k:
      return decode_all<Blocks::q3_k>(values, bytes, to);
    case Blocks::q4_k:
      return decode_all<Blocks::q4_k>(values, bytes, to);
    case Blocks::q5_k:
      return decode_all<Blocks::q5_k>(values, bytes, to);
    case Blocks::q6_k:
      return decode_all<Blocks::q6_k>(values, bytes, to);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
