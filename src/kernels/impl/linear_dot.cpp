// Outputs as dot products along `in`: one vector of sums per output, over pieces of kPiece elements; a
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

constexpr int64_t kPiece = 1024;             // a row tile of x stays in the first-level cache over a piece
constexpr int64_t kWeightBytes = 256 << 10;  // weights passed over again and again stay in the second level

// out[0..4) = reduce_add of each, the same bits.
#if defined(__AVX512F__)
static inline void reduce_add_4(const Vec (&x)[4], float* out) {
  const __m512 a = (__m512)x[0], b = (__m512)x[1], c = (__m512)x[2], d = (__m512)x[3];
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  __m512 sum = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  sum = _mm512_add_ps(sum, _mm512_permute_ps(sum, 0x4e));
  sum = _mm512_add_ps(sum, _mm512_permute_ps(sum, 0xb1));
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, sum)));
}
#elif defined(__AVX2__)
static inline void reduce_add_4(const Vec (&x)[4], float* out) {
  const __m128 a = fold_add((__m256)x[0]), b = fold_add((__m256)x[1]), c = fold_add((__m256)x[2]),
               d = fold_add((__m256)x[3]);
  const __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
  const __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
  _mm_storeu_ps(out, _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd)));
}
#else
static inline void reduce_add_4(const Vec (&x)[4], float* out) {
  for (int i = 0; i < 4; ++i) out[i] = reduce_add(x[i]);
}
#endif

// sums[r][o] = dot(x row r, w row o) over [0, n).
template <int Rows, int Outs, class T>
static inline void dot_tile(int64_t n, const float* x, int64_t x_row, const T* w, int64_t w_row,
                            float (&sums)[Rows][Outs]) {
  Vec lanes[Rows][Outs] = {};
  const auto step = [&](auto load_at) {
    Vec left[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) left[r] = load_at(x + r * x_row);
#pragma GCC unroll 8
    for (int o = 0; o < Outs; ++o) {
      const Vec right = load_at(w + o * w_row);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) lanes[r][o] = fma(left[r], right, lanes[r][o]);
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) step([i](auto* from) { return load(from + i); });
  if (i < n) step([i, n](auto* from) { return load_first(from + i, static_cast<int>(n - i)); });
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    if constexpr (Outs % 4 == 0) {
#pragma GCC unroll 2
      for (int o = 0; o < Outs; o += 4) {
        const Vec four[4] = {lanes[r][o], lanes[r][o + 1], lanes[r][o + 2], lanes[r][o + 3]};
        reduce_add_4(four, &sums[r][o]);
      }
    } else {
      for (int o = 0; o < Outs; ++o) sums[r][o] = reduce_add(lanes[r][o]);
    }
  }
}

// Adds piece [begin, begin + n) of `in` to a tile of outputs; the first piece starts them.
template <int Rows, int Outs, class T>
static void add_piece(const LinearProblem& p, int64_t row, int64_t out, int64_t begin, int64_t n) {
  float sums[Rows][Outs];
  dot_tile<Rows, Outs>(n, p.x + row * p.x_row + begin, p.x_row,
                       static_cast<const T*>(p.w) + out * p.w_row + begin, p.w_row, sums);
  for (int r = 0; r < Rows; ++r) {
    float* y = p.y + (row + r) * p.y_row + out;
    for (int o = 0; o < Outs; ++o) {
      float sum = sums[r][o];
      if (begin == 0 && p.bias) sum += p.bias[out + o];
      y[o] = begin > 0 || p.accumulate ? y[o] + sum : sum;
    }
  }
}

// A strip of Rows rows and outputs [out, out_end).
template <int Rows, class T>
static void add_strip(const LinearProblem& p, int64_t row, int64_t out, int64_t out_end, int64_t begin,
                      int64_t n) {
  constexpr int kWide = Rows == 1 ? 2 * kDotOuts : kDotOuts;  // one row needs more independent sums
  for (; out + kWide <= out_end; out += kWide) add_piece<Rows, kWide, T>(p, row, out, begin, n);
  for (; out < out_end; ++out) add_piece<Rows, 1, T>(p, row, out, begin, n);
}

template <int Rows, class T>
static void add_rows_left(const LinearProblem& p, int64_t row, int64_t rows, int64_t out, int64_t out_end,
                          int64_t begin, int64_t n) {
  if constexpr (Rows > 0) {
    if (rows == Rows) return add_strip<Rows, T>(p, row, out, out_end, begin, n);
    add_rows_left<Rows - 1, T>(p, row, rows, out, out_end, begin, n);
  }
}

template <class T>
static void linear_dot_of(const LinearProblem& p, int64_t row_begin, int64_t row_end, int64_t out_begin,
                          int64_t out_end) {
  const int64_t fit = kWeightBytes / static_cast<int64_t>(sizeof(T)) / (p.in + 1) / 8 * 8;
  const int64_t outs = fit < 8 ? 8 : fit;
  const int64_t piece_end = p.in > 0 ? p.in : 1;  // without an inner dimension the bias is left
  for (int64_t out = out_begin; out < out_end; out += outs) {
    const int64_t end = out + outs < out_end ? out + outs : out_end;
    for (int64_t begin = 0; begin < piece_end; begin += kPiece) {
      const int64_t n = p.in - begin < kPiece ? p.in - begin : kPiece;
      int64_t row = row_begin;
      for (; row + kDotRows <= row_end; row += kDotRows) add_strip<kDotRows, T>(p, row, out, end, begin, n);
      add_rows_left<kDotRows - 1, T>(p, row, row_end - row, out, end, begin, n);
    }
  }
}

}  // namespace

void linear_dot(const LinearProblem& problem, int64_t row_begin, int64_t row_end, int64_t out_begin,
                int64_t out_end) {
  if (problem.w_type == Element::f32) {
    linear_dot_of<float>(problem, row_begin, row_end, out_begin, out_end);
  } else {
    linear_dot_of<uint16_t>(problem, row_begin, row_end, out_begin, out_end);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
