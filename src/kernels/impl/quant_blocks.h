// How each block format is unpacked for quant_dot: values of kLanes rows as codes, 4 neighbours of a row in a
// lane, and their scales and offsets as f32. What codes mean: value = scale * (code - zero) + offset, where
// zero is 2^kZeroShift (kNone: 0) and only formats with kOffset have an offset.
//
// A block of 32 values is unpacked into vectors: 8 of codes, a scale for each kScaled values, then as many
// offsets. kHeadroom says how many products of pairs (u8 code x s8, two added) fit an int16 together.
#pragma once

#include "kernels/impl/quant_load.h"
#include "kernels/quant_args.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

constexpr int kNone = -1;
constexpr int32_t kNibbles = 0x0f0f0f0f, kPairs = 0x03030303, kOnes = 0x01010101;

template <Blocks format>
struct Unpack;

// Codes of Q8_0 and IQ4_NL use all eight bits. With VNNI products are added in 32 bits: codes are unsigned,
// 128 above the value. Otherwise they are the signed values themselves (quant_dot.cpp moves the sign).
#if defined(__AVX512VNNI__)
constexpr int kByteShift = 7;
constexpr int32_t kByteFlip = static_cast<int32_t>(0x80808080u);
#else
constexpr int kByteShift = kNone;
constexpr int32_t kByteFlip = 0;
#endif

static inline void put(IntVec* to, Vec x) {
  *to = (IntVec)x;
}

// 32 codes of 4 bits: the lower halves of 16 bytes, then the upper ones.
static inline void split_nibbles(const uint8_t* from, int64_t stride, IntVec* to) {
  IntVec q[4];
  load_words(from, stride, q);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    to[i] = q[i] & kNibbles;
    to[4 + i] = (q[i] >> 4) & kNibbles;
  }
}

// Bits 4 i to 4 i + 3 of every lane as the fifth bits of the lane's four codes.
static inline IntVec fifth_bits(IntVec x, int i) {
  const BitVec four = (BitVec)x >> (4 * i);
#if defined(__AVX512F__)
  const __m512i spread =
      _mm512_setr_epi32(0, 0x10, 0x1000, 0x1010, 0x100000, 0x100010, 0x101000, 0x101010, 0x10000000,
                        0x10000010, 0x10001000, 0x10001010, 0x10100000, 0x10100010, 0x10101000, 0x10101010);
  return (IntVec)_mm512_permutexvar_epi32((__m512i)four, spread);  // looks at the lowest four bits
#else
  return (IntVec)((four & 15u) * 0x02040810u) & 0x10101010;
#endif
}

template <>
struct Unpack<Blocks::q8_0> {
  static constexpr int kValues = 32, kBytes = 34, kScaled = 32, kHeadroom = 1, kZeroShift = kByteShift;
  static constexpr bool kOffset = false, kSigned = kByteShift == kNone;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      IntVec q[4];
      load_words(from + 2 + 16 * half, stride, q);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) to[4 * half + i] = q[i] ^ kByteFlip;
    }
    put(to + 8, half_to_float(load_word(from, stride)));
  }
};

template <>
struct Unpack<Blocks::q4_0> {
  static constexpr int kValues = 32, kBytes = 18, kScaled = 32, kHeadroom = 8, kZeroShift = 3;
  static constexpr bool kOffset = false, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    split_nibbles(from + 2, stride, to);
    put(to + 8, half_to_float(load_word(from, stride)));
  }
};

template <>
struct Unpack<Blocks::q4_1> {
  static constexpr int kValues = 32, kBytes = 20, kScaled = 32, kHeadroom = 8, kZeroShift = kNone;
  static constexpr bool kOffset = true, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    split_nibbles(from + 4, stride, to);
    const IntVec both = load_word(from, stride);
    put(to + 8, half_to_float(both));
    put(to + 9, half_to_float(both >> 16));
  }
};

template <>
struct Unpack<Blocks::q5_0> {
  static constexpr int kValues = 32, kBytes = 22, kScaled = 32, kHeadroom = 4, kZeroShift = 4;
  static constexpr bool kOffset = false, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    split_nibbles(from + 6, stride, to);
    const IntVec fifth = load_word(from + 2, stride);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) to[i] |= fifth_bits(fifth, i);
    put(to + 8, half_to_float(load_word(from, stride)));
  }
};

template <>
struct Unpack<Blocks::q5_1> {
  static constexpr int kValues = 32, kBytes = 24, kScaled = 32, kHeadroom = 4, kZeroShift = kNone;
  static constexpr bool kOffset = true, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    split_nibbles(from + 8, stride, to);
    const IntVec fifth = load_word(from + 4, stride), both = load_word(from, stride);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) to[i] |= fifth_bits(fifth, i);
    put(to + 8, half_to_float(both));
    put(to + 9, half_to_float(both >> 16));
  }
};

template <>
struct Unpack<Blocks::mxfp4> {
  static constexpr int kValues = 32, kBytes = 17, kScaled = 32, kHeadroom = 4, kZeroShift = 4;
  static constexpr bool kOffset = false, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    // Twice the value of a code, and 16.
    static constexpr uint8_t kCodes[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};
    split_nibbles(from + 1, stride, to);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) to[i] = look_up(kCodes, to[i]);
    const BitVec e = (BitVec)load_word(from, stride) & 255u;  // 2^(e - 128); subnormal for e < 2
    const BitVec subnormal = e == 0u ? (BitVec{} + 0x00200000u) : (BitVec{} + 0x00400000u);
    to[8] = (IntVec)(e < 2u ? subnormal : (e - 1u) << 23);
  }
};

template <>
struct Unpack<Blocks::iq4_nl> {
  static constexpr int kValues = 32, kBytes = 18, kScaled = 32, kHeadroom = 1, kZeroShift = kByteShift;
  static constexpr bool kOffset = false, kSigned = kByteShift == kNone;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    static constexpr uint8_t kCodes[16] = {129, 152, 173, 191, 207, 221, 234, 246,
                                           1,   13,  25,  38,  53,  69,  89,  113};  // as signed bytes
    split_nibbles(from + 2, stride, to);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) to[i] = look_up(kCodes, to[i]) ^ kByteFlip;
    put(to + 8, half_to_float(load_word(from, stride)));
  }
};

// The parts of a block that scales and offsets follow: 8 vectors of codes, scales, offsets.
template <class Format>
constexpr int kBlockVectors = 8 + (32 / Format::kScaled) * (Format::kOffset ? 2 : 1);

// Q4_K and Q5_K: eight scales and minima of 6 bits in the three words after d and dmin. Writes those of
// sub-block j, times d and -dmin.
struct SixBits {
  Vec d, minus_dmin;
  IntVec low[3];
  static inline SixBits load(const uint8_t* from, int64_t stride) {
    IntVec words[4];
    load_words(from, stride, words);
    return {half_to_float(words[0]), -half_to_float(words[0] >> 16), {words[1], words[2], words[3]}};
  }
  inline void put_at(int j, IntVec* to) const {
    IntVec scale, minimum;
    if (j < 4) {
      scale = byte_of(low[0], j) & 63;
      minimum = byte_of(low[1], j) & 63;
    } else {
      const IntVec both = byte_of(low[2], j - 4);
      scale = (both & 15) | (byte_of(low[0], j - 4) >> 6) << 4;
      minimum = (both >> 4) | (byte_of(low[1], j - 4) >> 6) << 4;
    }
    put(to, d * to_float(scale));
    put(to + 1, minus_dmin * to_float(minimum));
  }
};

template <>
struct Unpack<Blocks::q4_k> {
  static constexpr int kValues = 256, kBytes = 144, kScaled = 32, kHeadroom = 8, kZeroShift = kNone;
  static constexpr bool kOffset = true, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    const SixBits scales = SixBits::load(from, stride);
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair, to += 20) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        IntVec q[4];
        load_words(from + 16 + 32 * pair + 16 * half, stride, q);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          to[4 * half + i] = q[i] & kNibbles;
          to[10 + 4 * half + i] = (q[i] >> 4) & kNibbles;
        }
      }
      scales.put_at(2 * pair, to + 8);
      scales.put_at(2 * pair + 1, to + 18);
    }
  }
};

template <>
struct Unpack<Blocks::q5_k> {
  static constexpr int kValues = 256, kBytes = 176, kScaled = 32, kHeadroom = 4, kZeroShift = kNone;
  static constexpr bool kOffset = true, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    const SixBits scales = SixBits::load(from, stride);
    IntVec fifth[2][4];
    load_words(from + 16, stride, fifth[0]);
    load_words(from + 32, stride, fifth[1]);
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair, to += 20) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        IntVec q[4];
        load_words(from + 48 + 32 * pair + 16 * half, stride, q);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const IntVec bit = fifth[half][i] >> (2 * pair);
          to[4 * half + i] = (q[i] & kNibbles) | (bit & kOnes) << 4;
          to[10 + 4 * half + i] = ((q[i] >> 4) & kNibbles) | ((bit >> 1) & kOnes) << 4;
        }
      }
      scales.put_at(2 * pair, to + 8);
      scales.put_at(2 * pair + 1, to + 18);
    }
  }
};

template <>
struct Unpack<Blocks::q6_k> {
  static constexpr int kValues = 256, kBytes = 210, kScaled = 16, kHeadroom = 2, kZeroShift = 5;
  static constexpr bool kOffset = false, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    IntVec scales[4];
    load_words(from + 192, stride, scales);
    const Vec d = half_to_float(load_word(from + 206, stride) >> 16);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {  // 16 values of each of the four blocks
        IntVec first[4], second[4], upper[4];
        load_words(from + 64 * h + 16 * half, stride, first);
        load_words(from + 64 * h + 32 + 16 * half, stride, second);
        load_words(from + 128 + 32 * h + 16 * half, stride, upper);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          IntVec* at = to + 4 * half + i;
          at[0] = (first[i] & kNibbles) | (upper[i] & kPairs) << 4;
          at[10] = (second[i] & kNibbles) | ((upper[i] >> 2) & kPairs) << 4;
          at[20] = ((first[i] >> 4) & kNibbles) | ((upper[i] >> 4) & kPairs) << 4;
          at[30] = ((second[i] >> 4) & kNibbles) | ((upper[i] >> 6) & kPairs) << 4;
        }
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        put(to + 10 * (j / 2) + 8 + j % 2, d * to_float(signed_byte_of(scales[2 * h + j / 4], j % 4)));
      }
      to += 40;
    }
  }
};

template <>
struct Unpack<Blocks::q2_k> {
  static constexpr int kValues = 256, kBytes = 84, kScaled = 16, kHeadroom = 4, kZeroShift = kNone;
  static constexpr bool kOffset = true, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    IntVec scales[4];
    load_words(from, stride, scales);
    const IntVec both = load_word(from + 80, stride);
    const Vec d = half_to_float(both), minus_dmin = -half_to_float(both >> 16);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        IntVec q[4];
        load_words(from + 16 + 32 * h + 16 * half, stride, q);
#pragma GCC unroll 4
        for (int i = 0; i < 16; ++i) to[12 * (i / 4) + 4 * half + i % 4] = (q[i % 4] >> (i / 4 * 2)) & kPairs;
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const IntVec code = byte_of(scales[2 * h + j / 4], j % 4);
        put(to + 12 * (j / 2) + 8 + j % 2, d * to_float(code & 15));
        put(to + 12 * (j / 2) + 10 + j % 2, minus_dmin * to_float(code >> 4));
      }
      to += 48;
    }
  }
};

template <>
struct Unpack<Blocks::q3_k> {
  static constexpr int kValues = 256, kBytes = 110, kScaled = 16, kHeadroom = 4, kZeroShift = 2;
  static constexpr bool kOffset = false, kSigned = false;
  static inline void run(const uint8_t* from, int64_t stride, IntVec* to) {
    IntVec scales[4], third[2][4];
    load_words(from + 92, stride, scales);  // the last three words: lower halves, lower halves, upper bits
    load_words(from, stride, third[0]);
    load_words(from + 16, stride, third[1]);
    const Vec d = half_to_float(load_word(from + 106, stride) >> 16);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        IntVec q[4];
        load_words(from + 32 + 32 * h + 16 * half, stride, q);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          const int block = i / 4;
          const IntVec bit = (third[half][i % 4] >> (4 * h + block)) & kOnes;
          to[10 * block + 4 * half + i % 4] = ((q[i % 4] >> (2 * block)) & kPairs) | bit << 2;
        }
      }
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k) {
        const int j = 8 * h + k;
        const IntVec low = byte_of(scales[1 + j % 8 / 4], j % 4) >> (4 * h) & 15;
        const IntVec upper = byte_of(scales[3], j % 4) >> (j / 4 * 2) & 3;
        put(to + 10 * (k / 2) + 8 + k % 2, d * to_float((low | upper << 4) - 32));
      }
      to += 40;
    }
  }
};

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
