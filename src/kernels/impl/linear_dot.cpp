// Outputs as dot products along `in`: one vector of sums per output, over pieces of kLinearPiece elements; a
// piece's lanes are added in reduce_add's order, pieces one after the other. A tile of rows and outputs
// shares its loads; tiles of any size give the same bits.
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

// Asks for the memory `bytes` after `from`, which need not exist, into the first or second cache level.
template <int Level>
static inline void prefetch(const void* from, int64_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes);
  __builtin_prefetch(reinterpret_cast<const void*>(at), 0, Level == 1 ? 3 : 2);
}

// How a tile's lines of x or W (along `in`) lie: as in the matrix; the same, and the next tile's are asked
// for while these are read (lines are too short for the hardware to look ahead well); or packed in the order
// in which a tile reads them, f32 by now, vector i of all lines side by side.
enum class Layout { plain, fetching, packed };

template <class T, int Count, Layout layout>
struct Lines {
  const T* from;
  int64_t line;  // elements from one to the next; not for packed lines
  // Vector of line l at element i, a multiple of kLanes; n of its elements exist (packed lines are filled up
  // with 0).
  template <bool Whole>
  inline Vec at(int l, int64_t i, int n) const {
    if constexpr (layout == Layout::packed) return load(from + i * Count + l * kLanes);
    const T* here = from + l * line + i;
    // One row of x (wide tiles) goes through weights too fast for the first level.
    if constexpr (layout == Layout::fetching)
      prefetch<(Count > kDotOuts ? 2 : 1)>(here, Count * line * static_cast<int64_t>(sizeof(T)));
    return Whole ? load(here) : load_first(here, n);
  }
};

// Packs the lines of one tile and asks for the memory of the next.
template <int Count, class T>
static inline void pack_lines(const T* from, int64_t line, int64_t n, float* to) {
  for (int l = 0; l < Count; ++l) {
    for (int64_t i = 0; i < n; i += kLanes) {
      const T* here = from + l * line + i;
      prefetch<2>(here, Count * line * static_cast<int64_t>(sizeof(T)));
      store(to + i * Count + l * kLanes,
            n - i < kLanes ? load_first(here, static_cast<int>(n - i)) : load(here));
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
template <int Rows, int Outs, class Left, class Right>
static inline void dot_tile(const Left x, const Right w, const Outputs& to) {
  Vec lanes[Rows][Outs] = {};
  const auto step = [&]<bool Whole>(int64_t i, int n) {
    Vec left[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) left[r] = x.template at<Whole>(r, i, n);
#pragma GCC unroll 8
    for (int o = 0; o < Outs; ++o) {
      const Vec right = w.template at<Whole>(o, i, n);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) lanes[r][o] = fma(left[r], right, lanes[r][o]);
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= to.n; i += kLanes) step.template operator()<true>(i, kLanes);
  if (i < to.n) step.template operator()<false>(i, static_cast<int>(to.n - i));
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
template <class T>
struct Piece {
  const LinearProblem& p;
  int64_t begin, n, out, out_end;
  const float* x(int64_t row) const { return p.x + row * p.x_row + begin; }
  const T* w(int64_t o) const { return static_cast<const T*>(p.w) + o * p.w_row + begin; }
  Outputs outputs(int64_t row, int64_t o) const {
    return {.n = n,
            .bias = begin == 0 && p.bias ? p.bias + o : nullptr,
            .y = p.y + row * p.y_row + o,
            .y_row = p.y_row,
            .add = begin > 0 || p.accumulate};
  }
};

// A strip of Rows rows, for x as it lies or packed; packed_w holds the weights of whole tiles, or is null.
template <int Rows, Layout layout, class T>
static void add_strip(const Piece<T>& piece, int64_t row, const float* x, int64_t x_row,
                      const float* packed_w) {
  constexpr int kWide = Rows == 1 ? 2 * kDotOuts : kDotOuts;  // one row needs more independent sums
  const Lines<float, Rows, layout> left{x, x_row};
  const int64_t packed_line = (piece.n + kLanes - 1) / kLanes * kLanes;
  int64_t out = piece.out;
  for (; out + kWide <= piece.out_end; out += kWide) {
    if constexpr (layout == Layout::packed) {
      if (packed_w) {
        const Lines<float, kWide, Layout::packed> right{packed_w + (out - piece.out) * packed_line, 0};
        dot_tile<Rows, kWide>(left, right, piece.outputs(row, out));
        continue;
      }
    }
    const Lines<T, kWide, Layout::fetching> right{piece.w(out), piece.p.w_row};
    dot_tile<Rows, kWide>(left, right, piece.outputs(row, out));
  }
  for (; out < piece.out_end; ++out) {
    const Lines<T, 1, Layout::plain> right{piece.w(out), piece.p.w_row};
    dot_tile<Rows, 1>(left, right, piece.outputs(row, out));
  }
}

template <int Rows, class T>
static void add_rows_left(const Piece<T>& piece, int64_t row, int64_t rows) {
  if constexpr (Rows > 0) {
    if (rows != Rows) return add_rows_left<Rows - 1, T>(piece, row, rows);
    add_strip<Rows, Layout::plain, T>(piece, row, piece.x(row), piece.p.x_row, nullptr);
  }
}

template <class T>
static void linear_dot_of(const LinearProblem& p, int64_t row_begin, int64_t row_end, int64_t out_begin,
                          int64_t out_end, float* scratch) {
  float packed_x[kDotRows * kLinearPiece] __attribute__((aligned(64)));
  const bool pack_w = row_end - row_begin >= kPackRows;
  const int64_t line = p.in < kLinearPiece ? (p.in + kLanes) / kLanes * kLanes : kLinearPiece;
  const int64_t outs = kLinearScratch / line / 8 * 8;
  const int64_t piece_end = p.in > 0 ? p.in : 1;  // without an inner dimension the bias is left
  for (int64_t out = out_begin; out < out_end; out += outs) {
    const int64_t end = out + outs < out_end ? out + outs : out_end;
    for (int64_t begin = 0; begin < piece_end; begin += kLinearPiece) {
      const int64_t n = p.in - begin < kLinearPiece ? p.in - begin : kLinearPiece;
      const Piece<T> piece{p, begin, n, out, end};
      for (int64_t o = out; pack_w && o + kDotOuts <= end; o += kDotOuts) {
        pack_lines<kDotOuts>(piece.w(o), p.w_row, n,
                             scratch + (o - out) * ((n + kLanes - 1) / kLanes * kLanes));
      }
      int64_t row = row_begin;
      for (; row + kDotRows <= row_end; row += kDotRows) {
        pack_lines<kDotRows>(piece.x(row), p.x_row, n, packed_x);
        add_strip<kDotRows, Layout::packed, T>(piece, row, packed_x, 0, pack_w ? scratch : nullptr);
      }
      add_rows_left<kDotRows - 1, T>(piece, row, row_end - row);
    }
  }
}

}  // namespace

void linear_dot(const LinearProblem& problem, int64_t row_begin, int64_t row_end, int64_t out_begin,
                int64_t out_end, float* scratch) {
  if (problem.w_type == Element::f32) {
    linear_dot_of<float>(problem, row_begin, row_end, out_begin, out_end, scratch);
  } else {
    linear_dot_of<uint16_t>(problem, row_begin, row_end, out_begin, out_end, scratch);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
