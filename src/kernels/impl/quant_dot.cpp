// Products of block-quantised weights with int8 activations. A tile of kLanes rows of W is unpacked (as codes
// of one byte, a row in each lane) into scratch that stays in the first-level cache, and meets every row of
// x there; one row or five hundred take the same path. An output is one chain over the blocks in order (q of
// wide rows is 128 high + low, both multiplied):
//   sum += f32(sum of (code - zero) q, exact) * (scale_w * scale_x)  [sum += offset_w * (scale_x * sum of q)]
// so it depends neither on the number of rows nor on the instruction set, but where that has no fused
// multiply.
#include "kernels/impl/quant_blocks.h"
#include "kernels/impl/quant_tile.h"
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

static inline float as_float(const int32_t* from) {
  float x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

// sums[c] += codes . x over 4-value groups [begin, begin + Count): lane by lane the exact product of a row's
// codes (w, one vector a group) and the words of column c (x, C words a group).
#if defined(__AVX512VNNI__)
template <class Format, int C, int Count>
static inline void add_products(const IntVec* w, const int32_t* x, IntVec (&sums)[C]) {
  IntVec others[C] = {};  // a second chain: one column alone would wait for its sums
#pragma GCC unroll 8
  for (int g = 0; g < Count; ++g) {
    const __m512i codes = (__m512i)w[g];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      IntVec& sum = C <= 2 && g % 2 == 1 ? others[c] : sums[c];
      sum = (IntVec)_mm512_dpbusd_epi32((__m512i)sum, codes, _mm512_set1_epi32(x[g * C + c]));
    }
  }
#pragma GCC unroll 8
  for (int c = 0; C <= 2 && c < C; ++c) sums[c] += others[c];
}
#elif defined(__AVX2__)
#if defined(__AVX512F__)
static inline __m512i pairs_unsigned(IntVec codes, int32_t x) {
  return _mm512_maddubs_epi16((__m512i)codes, _mm512_set1_epi32(x));
}
static inline __m512i pairs_signed(IntVec codes, int32_t x) {  // |code| x (q with the code's sign)
  const __m512i w = (__m512i)codes, q = _mm512_set1_epi32(x);
  return _mm512_maddubs_epi16(_mm512_abs_epi8(w),
                              _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(w), _mm512_setzero_si512(), q));
}
static inline __m512i add_pairs(__m512i a, __m512i b) {
  return _mm512_add_epi16(a, b);
}
static inline IntVec widen_pairs(__m512i a) {
  return (IntVec)_mm512_madd_epi16(a, _mm512_set1_epi16(1));
}
#else
static inline __m256i pairs_unsigned(IntVec codes, int32_t x) {
  return _mm256_maddubs_epi16((__m256i)codes, _mm256_set1_epi32(x));
}
static inline __m256i pairs_signed(IntVec codes, int32_t x) {
  const __m256i w = (__m256i)codes;
  return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(_mm256_set1_epi32(x), w));
}
static inline __m256i add_pairs(__m256i a, __m256i b) {
  return _mm256_add_epi16(a, b);
}
static inline IntVec widen_pairs(__m256i a) {
  return (IntVec)_mm256_madd_epi16(a, _mm256_set1_epi16(1));
}
#endif
// maddubs saturates: codes times 127, two products, kHeadroom of them must stay below 32768. A code of
// magnitude 128 (the least a signed byte can be) just does.
template <class Format, int C, int Count>
static inline void add_products(const IntVec* w, const int32_t* x, IntVec (&sums)[C]) {
  constexpr int kStep = Format::kHeadroom < Count ? Format::kHeadroom : Count;
#pragma GCC unroll 8
  for (int g = 0; g < Count; g += kStep) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const auto pairs = [&](int i) {
        return Format::kSigned ? pairs_signed(w[i], x[i * C + c]) : pairs_unsigned(w[i], x[i * C + c]);
      };
      auto sum = pairs(g);
#pragma GCC unroll 8
      for (int i = g + 1; i < g + kStep; ++i) sum = add_pairs(sum, pairs(i));
      sums[c] += widen_pairs(sum);
    }
  }
}
#else
template <class Format, int C, int Count>
static inline void add_products(const IntVec* w, const int32_t* x, IntVec (&sums)[C]) {
  for (int g = 0; g < Count; ++g) {
    for (int i = 0; i < 4; ++i) {
      const IntVec code = Format::kSigned ? signed_byte_of(w[g], i) : byte_of(w[g], i);
      for (int c = 0; c < C; ++c) sums[c] += code * static_cast<int8_t>(x[g * C + c] >> (8 * i) & 255);
    }
  }
}
#endif

// One scaled part of a block: Count groups of codes, and where the panel has this part's sums.
template <class Format, int C, int Count, bool Wide>
static inline void add_part(const IntVec* codes, const int32_t* q, Vec scale, Vec offset,
                            const int32_t* x_scale, const int32_t* x_sums, Vec (&sums)[C]) {
  IntVec products[C] = {};
  if constexpr (Wide) {
    add_products<Format, C, Count>(codes, q, products);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) products[c] <<= kWideShift;
    q += 8 * C;
  }
  if constexpr (Format::kZeroShift != kNone) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) products[c] += broadcast_int(x_sums[c]) << Format::kZeroShift;
  }
  add_products<Format, C, Count>(codes, q, products);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    sums[c] = fma(to_float(products[c]), scale * broadcast(as_float(x_scale + c)), sums[c]);
    if constexpr (Format::kOffset) sums[c] = fma(offset, broadcast(as_float(x_sums + C + c)), sums[c]);
  }
}

// A block of 32 values with the C columns of a panel.
template <class Format, int C, bool Wide>
static inline void add_block(const IntVec* w, const int32_t* x, Vec (&sums)[C]) {
  const int32_t* const s = x + code_words({.wide = Wide}) * C;
  if constexpr (Format::kScaled == 32) {
    add_part<Format, C, 8, Wide>(w, x, (Vec)w[8], Format::kOffset ? (Vec)w[9] : zero(), s, s + C, sums);
  } else {
    add_part<Format, C, 4, Wide>(w, x, (Vec)w[8], Format::kOffset ? (Vec)w[10] : zero(), s, s + 3 * C, sums);
    add_part<Format, C, 4, Wide>(w + 4, x + 4 * C, (Vec)w[9], Format::kOffset ? (Vec)w[11] : zero(), s,
                                 s + 5 * C, sums);
  }
}

struct Output {
  float* y;
  int64_t y_row;
  int lanes;
  bool add;
};

// `blocks` blocks of a tile with the C columns of a panel.
template <class Format, int C, bool Wide>
static void dot_panel(int64_t blocks, const IntVec* w, const int32_t* x, int64_t words, const Output& to) {
  Vec sums[C];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    const float* y = to.y + c * to.y_row;
    sums[c] = !to.add ? zero() : to.lanes == kLanes ? load(y) : load_first(y, to.lanes);
  }
  for (int64_t b = 0; b < blocks; ++b, w += kBlockVectors<Format>, x += words * C)
    add_block<Format, C, Wide>(w, x, sums);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    float* y = to.y + c * to.y_row;
    if (to.lanes == kLanes) {
      store(y, sums[c]);
    } else {
      store_first(y, sums[c], to.lanes);
    }
  }
}

template <class Format, int C, bool Wide>
static inline void dot_panel_of(int columns, int64_t blocks, const IntVec* w, const int32_t* x, int64_t words,
                                const Output& to) {
  if constexpr (C > 0) {
    if (columns == C) return dot_panel<Format, C, Wide>(blocks, w, x, words, to);
    dot_panel_of<Format, C - 1, Wide>(columns, blocks, w, x, words, to);
  }
}

// Asks for that many bytes.
template <int Bytes>
static inline void fetch(const uint8_t* next) {
  for (int line = 0; line < Bytes; line += 64) __builtin_prefetch(next + line, 0, 2);
}

// A piece of the inner dimension of kLanes rows, unpacked. The next tile's bytes, which follow these rows,
// are asked for meanwhile: a row is too short for the hardware to look ahead well. Into the second-level
// cache: in the first they would be gone before they are read.
template <class Format>
static inline void unpack_piece(const uint8_t* from, int64_t stride, int64_t values, const uint8_t* next,
                                IntVec* to) {
  for (int64_t v = 0; v < values; v += Format::kValues) {
    fetch<Format::kBytes * kLanes>(next);
    next += Format::kBytes * kLanes;
    Format::run(from, stride, to);
    from += Format::kBytes;
    to += Format::kValues / 32 * kBlockVectors<Format>;
  }
}

// One row of x and whole tiles [begin, end) of W: what is unpacked meets x at once, and is never written
// down.
template <class Format, bool Wide>
static void dot_one_row(const QuantDot& p, int64_t begin, int64_t end) {
  constexpr int kBlocks = Format::kValues / 32;
  const int64_t words = panel_words(p.form);
  for (int64_t row = begin; row < end; row += kLanes) {
    const uint8_t* from = static_cast<const uint8_t*>(p.w) + row * p.w_row;
    const bool last = row + kLanes >= end && p.next != nullptr;
    const uint8_t* next = last ? static_cast<const uint8_t*>(p.next) : from + kLanes * p.w_row;
    const int32_t* x = p.x;
    Vec sums[1] = {zero()};
    for (int64_t v = 0; v < p.in; v += Format::kValues) {
      fetch<Format::kBytes * kLanes>(next);
      IntVec blocks[kBlocks * kBlockVectors<Format>];
      Format::run(from, p.w_row, blocks);
#pragma GCC unroll 8
      for (int b = 0; b < kBlocks; ++b, x += words)
        add_block<Format, 1, Wide>(blocks + b * kBlockVectors<Format>, x, sums);
      from += Format::kBytes;
      next += Format::kBytes * kLanes;
    }
    store(p.y + row, sums[0]);
  }
}

template <class Format, bool Wide>
static void dot_rows(QuantDot p, uint8_t* scratch) {
  if (p.rows == 1) {
    const int64_t begin = p.begin;
    p.begin = p.end - (p.end - p.begin) % kLanes;  // rows of a tile that is not whole
    dot_one_row<Format, Wide>(p, begin, p.begin);
  }
  constexpr int64_t kTileBytes = kQuantPiece / 32 * kBlockVectors<Format> * sizeof(IntVec);
  static_assert(kTileBytes + kQuantPiece / Format::kValues * Format::kBytes * kLanes <=
                static_cast<int64_t>(kQuantScratch));
  IntVec* const tile = reinterpret_cast<IntVec*>(scratch);
  uint8_t* const spare = scratch + kTileBytes;  // rows of the last tile, repeated until there are kLanes
  const int64_t words = panel_words(p.form), row_words = p.in / 32 * words;
  const int64_t pieces = (p.in + kQuantPiece - 1) / kQuantPiece;
  const int64_t step =
      ((p.in + pieces - 1) / pieces + Format::kValues - 1) / Format::kValues * Format::kValues;
  for (int64_t row = p.begin; row < p.end; row += kLanes) {
    const int lanes = static_cast<int>(p.end - row < kLanes ? p.end - row : kLanes);
    const uint8_t* const rows = static_cast<const uint8_t*>(p.w) + row * p.w_row;
    for (int64_t begin = 0; begin < p.in; begin += step) {
      const int64_t values = p.in - begin < step ? p.in - begin : step;
      const int64_t bytes = values / Format::kValues * Format::kBytes;
      const uint8_t* from = rows + begin / Format::kValues * Format::kBytes;
      int64_t stride = p.w_row;
      const uint8_t* next = rows + kLanes * p.w_row + begin / Format::kValues * Format::kBytes * kLanes;
      if (lanes < kLanes) {
        for (int r = 0; r < kLanes; ++r) {
          const int64_t source = (r < lanes ? r : lanes - 1) * p.w_row;
          __builtin_memcpy(spare + r * bytes, from + source, static_cast<size_t>(bytes));
        }
        from = next = spare;
        stride = bytes;
      }
      unpack_piece<Format>(from, stride, values, next, tile);
      const int32_t* x = p.x;
      for (int64_t column = 0; column < p.rows; column += kQuantColumns, x += kQuantColumns * row_words) {
        const int columns =
            static_cast<int>(p.rows - column < kQuantColumns ? p.rows - column : kQuantColumns);
        const Output to{p.y + column * p.y_row + row, p.y_row, lanes, begin > 0};
        dot_panel_of<Format, kQuantColumns, Wide>(columns, values / 32, tile,
                                                  x + begin / 32 * words * columns, words, to);
      }
    }
  }
}

template <class Format>
static void dot_of(const QuantDot& p, uint8_t* scratch) {
  p.form.wide ? dot_rows<Format, true>(p, scratch) : dot_rows<Format, false>(p, scratch);
}

}  // namespace

void quant_dot(const QuantDot& p, void* scratch) {
  uint8_t* const to = static_cast<uint8_t*>(scratch);
  switch (p.format) {
    case Blocks::none:
      return;
    case Blocks::q8_0:
      return dot_of<Unpack<Blocks::q8_0>>(p, to);
    case Blocks::q4_0:
      return dot_of<Unpack<Blocks::q4_0>>(p, to);
    case Blocks::q4_1:
      return dot_of<Unpack<Blocks::q4_1>>(p, to);
    case Blocks::q5_0:
      return dot_of<Unpack<Blocks::q5_0>>(p, to);
    case Blocks::q5_1:
      return dot_of<Unpack<Blocks::q5_1>>(p, to);
    case Blocks::mxfp4:
      return dot_of<Unpack<Blocks::mxfp4>>(p, to);
    case Blocks::iq4_nl:
      return dot_of<Unpack<Blocks::iq4_nl>>(p, to);
    case Blocks::q2_k:
      return dot_of<Unpack<Blocks::q2_k>>(p, to);
    case Blocks::q3_k:
      return dot_of<Unpack<Blocks::q3_k>>(p, to);
    case Blocks::q4_k:
      return dot_of<Unpack<Blocks::q4_k>>(p, to);
    case Blocks::q5_k:
      return dot_of<Unpack<Blocks::q5_k>>(p, to);
    case Blocks::q6_k:
      return dot_of<Unpack<Blocks::q6_k>>(p, to);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
