// Outputs as dot products along `in`: one vector of sums per output, over pieces of kLinearPiece units; a
// piece's lanes are added in reduce_add's order, pieces one after the other. A tile of rows and outputs
// shares its loads; tiles of any size give the same bits. A unit is what one lane multiplies at a time: an
// f32, or where the machine multiplies bf16 in pairs, two neighbours along `in`.
#include "kernels/impl/pairs.h"
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// Sums, one vector per row of x and one of W fill 32 or 16 registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kDotRows = 6;
#else
constexpr int kDotRows = 3;
#endif
constexpr int kDotOuts = 4;

constexpr int64_t kPackRows =
    48;  // from here on copying weights pays: lines that do not start on a cache line are slow

typedef float Four __attribute__((vector_size(16)));

static inline Four load_four(const float* from) {
  Four x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

// reduce_add of each, the same bits.
#if defined(__AVX512F__)
static inline Four reduce_add_4(const Vec (&x)[4]) {
  const __m512 a = (__m512)x[0], b = (__m512)x[1], c = (__m512)x[2], d = (__m512)x[3];
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  __m512 sum = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  sum = _mm512_add_ps(sum, _mm512_permute_ps(sum, 0x4e));
  sum = _mm512_add_ps(sum, _mm512_permute_ps(sum, 0xb1));
  return (Four)_mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, sum));
}
#elif defined(__AVX2__)
static inline Four reduce_add_4(const Vec (&x)[4]) {
  const __m128 a = fold_add((__m256)x[0]), b = fold_add((__m256)x[1]), c = fold_add((__m256)x[2]),
               d = fold_add((__m256)x[3]);
  const __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
  const __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
  return (Four)_mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd));
}
#else
static inline Four reduce_add_4(const Vec (&x)[4]) {
  return Four{reduce_add(x[0]), reduce_add(x[1]), reduce_add(x[2]), reduce_add(x[3])};
}
#endif

constexpr size_t kCacheLine = 64;

// Asks for the memory `bytes` after `from`, which need not exist, into the second-level cache.
static inline void prefetch(const void* from, int64_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes);
  __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 2);
}

// Numbers of a line as they become units: read(from, n) gives a vector of kStep numbers, of which n exist,
// 0 < n <= kStep; the others are 0.
template <class T>
struct Widened {
  using Number = T;
  static constexpr int kStep = kLanes;
  static inline Vec read(const T* from, int n) { return n == kLanes ? load(from) : load_first(from, n); }
};

// x as it is, weights widened where they are bf16.
template <class T>
struct FloatForm {
  using X = Widened<float>;
  using W = Widened<T>;
  static constexpr bool kPackFew = false;  // a few rows of x are read as they lie
  static inline Vec multiply_add(Vec a, Vec b, Vec sum) { return fma(a, b, sum); }
};

#if defined(__AVX512BF16__)
struct PairsAsStored {
  using Number = uint16_t;
  static constexpr int kStep = 2 * kLanes;
  static inline Vec read(const uint16_t* from, int n) { return load_pairs(from, n); }
};
struct PairsRounded {
  using Number = float;
  static constexpr int kStep = 2 * kLanes;
  static inline Vec read(const float* from, int n) { return load_pairs(from, n); }
};
struct PairForm {
  using X = PairsRounded;
  using W = PairsAsStored;
  static constexpr bool kPackFew = true;  // rounded once, not for every tile
  static inline Vec multiply_add(Vec a, Vec b, Vec sum) { return multiply_add_pairs(a, b, sum); }
};
#endif

// Floats that a packed line of n numbers takes: whole vectors of units.
template <class Numbers>
static inline int64_t packed_line(int64_t n) {
  return (n + Numbers::kStep - 1) / Numbers::kStep * kLanes;
}

// How a tile's lines of x or W (along `in`) lie: as in the matrix; the same, and lines further on are asked
// for while these are read (lines are too short for the hardware to look ahead well); or packed in the order
// in which a tile reads them, units by now, vector i of all lines side by side.
enum class Layout { plain, fetching, packed };
constexpr int64_t kLinesAhead = 16;

template <class Numbers, int Count, Layout layout>
struct Lines {
  using Number = typename Numbers::Number;
  const Number* from;
  int64_t line;  // numbers from one to the next
  // Vector of line l at number i, a multiple of kStep; n of its numbers exist.
  inline Vec at(int l, int64_t i, int n) const {
    const Number* here = from + l * line + i;
    // Into the second level: in the first they would be gone before they are read. Where a vector is a whole
    // cache line, that is asked for once more: the first time there may be no room for the request.
    if constexpr (layout == Layout::fetching) {
      const int64_t bytes = line * static_cast<int64_t>(sizeof(Number));
      prefetch(here, kLinesAhead * bytes);
      if constexpr (Numbers::kStep * sizeof(Number) >= kCacheLine) prefetch(here, kLinesAhead / 2 * bytes);
    }
    return Numbers::read(here, n);
  }
};
template <class Numbers, int Count>
struct Lines<Numbers, Count, Layout::packed> {
  const float* from;
  inline Vec at(int l, int64_t i, int) const {
    return load(from + i / Numbers::kStep * kLanes * Count + l * kLanes);
  }
};

// Packs the lines of one tile and asks for the memory of the next.
template <class Numbers, int Count>
static inline void pack_lines(const typename Numbers::Number* from, int64_t line, int64_t n, float* to) {
  constexpr int kStep = Numbers::kStep;
  for (int l = 0; l < Count; ++l) {
    for (int64_t i = 0; i < n; i += kStep) {
      const auto* here = from + l * line + i;
      prefetch(here, Count * line * static_cast<int64_t>(sizeof *from));
      store(to + i / kStep * kLanes * Count + l * kLanes,
            Numbers::read(here, n - i < kStep ? static_cast<int>(n - i) : kStep));
    }
  }
}

// Outputs of a tile, to which a piece of `in` of length n is added.
struct Outputs {
  int64_t n;
  const float* bias;  // null: none
  float* y;
  int64_t y_row;
  bool add;  // to what y holds
};

// y[r][o] = or += dot(x line r, w line o) + bias[o].
template <class Form, int Rows, int Outs, class Left, class Right>
static inline void dot_tile(const Left x, const Right w, const Outputs& to) {
  constexpr int kStep = Form::W::kStep;
  Vec lanes[Rows][Outs] = {};
  const auto step = [&](int64_t i, int n) __attribute__((always_inline)) {
    Vec left[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) left[r] = x.at(r, i, n);
#pragma GCC unroll 8
    for (int o = 0; o < Outs; ++o) {
      const Vec right = w.at(o, i, n);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) lanes[r][o] = Form::multiply_add(left[r], right, lanes[r][o]);
    }
  };
  int64_t i = 0;
  for (; i + kStep <= to.n; i += kStep) step(i, kStep);
  if (i < to.n) step(i, static_cast<int>(to.n - i));
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    float* y = to.y + r * to.y_row;
    if constexpr (Outs == 1) {
      const float sum = reduce_add(lanes[r][0]) + (to.bias ? *to.bias : 0.0f);
      *y = to.add ? *y + sum : sum;
    } else {
#pragma GCC unroll 2
      for (int o = 0; o < Outs; o += 4) {
        const Vec four[4] = {lanes[r][o], lanes[r][o + 1], lanes[r][o + 2], lanes[r][o + 3]};
        Four sum = reduce_add_4(four) + (to.bias ? load_four(to.bias + o) : Four{});
        if (to.add) sum += load_four(y + o);
        __builtin_memcpy(y + o, &sum, sizeof sum);
      }
    }
  }
}

// The piece [begin, begin + n) of `in`, and outputs [out, out_end).
template <class Form>
struct Piece {
  using W = typename Form::W::Number;
  const LinearProblem& p;
  int64_t begin, n, out, out_end;
  const float* x(int64_t row) const { return p.x + row * p.x_row + begin; }
  const W* w(int64_t o) const { return static_cast<const W*>(p.w) + o * p.w_row + begin; }
  Outputs outputs(int64_t row, int64_t o) const {
    return {.n = n,
            .bias = begin == 0 && p.bias ? p.bias + o : nullptr,
            .y = p.y + row * p.y_row + o,
            .y_row = p.y_row,
            .add = begin > 0 || p.accumulate};
  }
};

// A strip of Rows rows of x; packed_w holds the weights of whole tiles, or is null.
template <class Form, int Rows, class Left>
static void add_strip(const Piece<Form>& piece, int64_t row, const Left left, const float* packed_w) {
  using W = typename Form::W;
  constexpr int kWide = Rows <= kDotRows / 2 ? 2 * kDotOuts : kDotOuts;  // as the registers allow
  int64_t out = piece.out;
  for (; out + kWide <= piece.out_end; out += kWide) {
    if constexpr (Rows == kDotRows) {
      if (packed_w) {
        const Lines<W, kWide, Layout::packed> right{packed_w + (out - piece.out) * packed_line<W>(piece.n)};
        dot_tile<Form, Rows, kWide>(left, right, piece.outputs(row, out));
        continue;
      }
    }
    const Lines<W, kWide, Layout::fetching> right{piece.w(out), piece.p.w_row};
    dot_tile<Form, Rows, kWide>(left, right, piece.outputs(row, out));
  }
  for (; out < piece.out_end; ++out) {
    const Lines<W, 1, Layout::plain> right{piece.w(out), piece.p.w_row};
    dot_tile<Form, Rows, 1>(left, right, piece.outputs(row, out));
  }
}

template <class Form, int Rows>
static void add_packed_strip(const Piece<Form>& piece, int64_t row, float* packed_x, const float* packed_w) {
  using X = typename Form::X;
  pack_lines<X, Rows>(piece.x(row), piece.p.x_row, piece.n, packed_x);
  add_strip<Form, Rows>(piece, row, Lines<X, Rows, Layout::packed>{packed_x}, packed_w);
}

template <class Form, int Rows>
static void add_rows_left(const Piece<Form>& piece, int64_t row, int64_t rows, float* packed_x) {
  if constexpr (Rows > 0) {
    if (rows != Rows) return add_rows_left<Form, Rows - 1>(piece, row, rows, packed_x);
    if constexpr (Form::kPackFew) return add_packed_strip<Form, Rows>(piece, row, packed_x, nullptr);
    const Lines<typename Form::X, Rows, Layout::plain> left{piece.x(row), piece.p.x_row};
    add_strip<Form, Rows>(piece, row, left, nullptr);
  }
}

template <class Form>
static void linear_dot_of(const LinearProblem& p, int64_t row_begin, int64_t row_end, int64_t out_begin,
                          int64_t out_end, float* scratch) {
  using W = typename Form::W;
  constexpr int64_t kPiece = kLinearPiece / kLanes * W::kStep;
  float packed_x[kDotRows * kLinearPiece] __attribute__((aligned(64)));
  const bool pack_w = row_end - row_begin >= kPackRows;
  const int64_t line = p.in < kPiece ? packed_line<W>(p.in + 1) : kLinearPiece;
  const int64_t outs = kLinearScratch / line / 8 * 8;
  const int64_t piece_end = p.in > 0 ? p.in : 1;  // without an inner dimension the bias is left
  for (int64_t out = out_begin; out < out_end; out += outs) {
    const int64_t end = out + outs < out_end ? out + outs : out_end;
    for (int64_t begin = 0; begin < piece_end; begin += kPiece) {
      const int64_t n = p.in - begin < kPiece ? p.in - begin : kPiece;
      const Piece<Form> piece{p, begin, n, out, end};
      for (int64_t o = out; pack_w && o + kDotOuts <= end; o += kDotOuts)
        pack_lines<W, kDotOuts>(piece.w(o), p.w_row, n, scratch + (o - out) * packed_line<W>(n));
      int64_t row = row_begin;
      for (; row + kDotRows <= row_end; row += kDotRows)
        add_packed_strip<Form, kDotRows>(piece, row, packed_x, pack_w ? scratch : nullptr);
      add_rows_left<Form, kDotRows - 1>(piece, row, row_end - row, packed_x);
    }
  }
}

}  // namespace

void linear_dot(const LinearProblem& problem, int64_t row_begin, int64_t row_end, int64_t out_begin,
                int64_t out_end, float* scratch) {
  if (problem.w_type == Element::f32)
    return linear_dot_of<FloatForm<float>>(problem, row_begin, row_end, out_begin, out_end, scratch);
#if defined(__AVX512BF16__)
  if (problem.precision == Precision::bf16)
    return linear_dot_of<PairForm>(problem, row_begin, row_end, out_begin, out_end, scratch);
#endif
  linear_dot_of<FloatForm<uint16_t>>(problem, row_begin, row_end, out_begin, out_end, scratch);
}

}  // namespace frugal::kernels::KERNEL_TARGET
