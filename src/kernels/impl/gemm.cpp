// Packing and the register-blocked product of packed panels.
//
// A unit is 32 bits: one f32, or where the machine multiplies bf16 pairs (kPairs), two neighbours of the
// inner dimension. B's panel: units [k][kGemmColumns]. A's panel: as the matrix lies, so that packing is
// copying: [row][kRowUnits] when its rows are contiguous, [k][kGemmRows] when its columns are. Without pairs,
// Precision::bf16 rounds while packing.
#include "kernels/impl/gemm_tile.h"
#include "kernels/impl/pairs.h"
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

#if defined(__AVX512BF16__)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
#endif

// A panel's rows lie this far apart: a constant, so that one register addresses them all, and an odd number
// of cache lines, so that they fall into different sets.
constexpr int64_t kRowUnits = kGemmMaxK + 16;
constexpr int64_t kPanelUnits = kGemmRows * kRowUnits + kLanes;

static inline Vec round_to_bf16(Vec x) {
  return widen(narrow(x));
}

struct PlainUnits {  // f32 as it is
  static constexpr int kPerUnit = 1;
  static inline Vec convert(Vec x) { return x; }
  static inline Vec multiply_add(Vec a, Vec b, Vec sum) { return fma(a, b, sum); }
};
struct RoundedUnits : PlainUnits {  // f32 rounded to bf16
  static inline Vec convert(Vec x) { return round_to_bf16(x); }
};
#if defined(__AVX512BF16__)
struct PairUnits {
  static constexpr int kPerUnit = 2;
  static inline Vec adjacent(Vec first, Vec second) { return adjacent_pairs(first, second); }
  static inline Vec interleaved(Vec even, Vec odd) { return interleaved_pairs(even, odd); }
  static inline Vec multiply_add(Vec a, Vec b, Vec sum) { return multiply_add_pairs(a, b, sum); }
};
#else
using PairUnits = RoundedUnits;
#endif

static inline int clip(int64_t n) {
  return static_cast<int>(n < 0 ? 0 : n < kLanes ? n : kLanes);
}

// Loads n of kLanes neighbours, in full where possible.
template <class T>
static inline Vec load_up_to(const T* from, int n) {
  return n == kLanes ? load(from) : load_first(from, n);
}

// kLanes units of one row or column that is contiguous along k, starting at k index p (a multiple of
// kPerUnit).
template <class Units, class T>
static inline Vec units_along_k(const T* from, int64_t p, int64_t k) {
  const Vec first = load_up_to(from + p, clip(k - p));
  if constexpr (Units::kPerUnit == 1) {
    return Units::convert(first);
  } else {
    return Units::adjacent(first, load_up_to(from + p + kLanes, clip(k - p - kLanes)));
  }
}

// kLanes units side by side, from memory that is contiguous across k: n of them exist, k_left steps are left.
template <class Units, class T>
static inline Vec units_across_k(const T* from, int64_t stride, int64_t k_left, int n) {
  const Vec even = load_up_to(from, n);
  if constexpr (Units::kPerUnit == 1) {
    return Units::convert(even);
  } else {
    return Units::interleaved(even, k_left > 1 ? load_up_to(from + stride, n) : zero());
  }
}

// Asks for the memory `bytes` after `from`, which need not exist. Packing reads many short pieces far from
// one another, where the hardware does not look ahead by itself.
static inline void prefetch(const void* from, int64_t bytes) {
  __builtin_prefetch(
      reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes)));
}
constexpr int64_t kLine = 64;
constexpr int64_t kLinesAhead = 16;
constexpr int kPrefetchTiles = 8 < kGemmColumns ? 8 : kGemmColumns;

template <class Units>
static void pack_a(int64_t rows, int64_t k, const float* a, int64_t a_row, int64_t a_col, float* to) {
  if (a_col == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      float* row = to + i / kGemmRows * kPanelUnits + i % kGemmRows * kRowUnits;
      for (int64_t p = 0; p < k; p += kLanes * Units::kPerUnit) {
        prefetch(a + i * a_row + p, a_row * 4);
        prefetch(a + i * a_row + p, 2 * a_row * 4);
        store(row + p / Units::kPerUnit, units_along_k<Units>(a + i * a_row, p, k));
      }
    }
    return;
  }
  // Vectors are whole where they can be: what a load has too much lies in the next panel, what a store writes
  // too much is overwritten by the next step.
  for (int64_t p = 0; p < k; p += Units::kPerUnit) {
    const float* from = a + p * a_col;
    for (int64_t i = 0; i < rows; i += kLine / 4) prefetch(from + i, kLinesAhead * a_col * 4);
    float* out = to + p / Units::kPerUnit * kGemmRows;
    for (int64_t i = 0; i < rows; i += kGemmRows, out += kPanelUnits) {
#pragma GCC unroll 4
      for (int64_t j = 0; j < kGemmRows; j += kLanes) {
        store(out + j, units_across_k<Units>(from + i + j, a_col, k - p, clip(rows - i - j)));
      }
    }
  }
}

template <class Units, class T>
static void pack_b(int64_t k, int64_t columns, const T* b, int64_t b_row, int64_t b_col, float* to) {
  constexpr int64_t kStep = Units::kPerUnit, kSize = sizeof(T);
  if (b_col == 1) {
    for (int64_t p = 0; p < k; p += kStep, to += kGemmColumns) {
      const T* from = b + p * b_row;
      for (int64_t j = 0; j < kGemmColumns; j += kLanes) {
        prefetch(from + j, kLinesAhead * b_row * kSize);
        store(to + j, units_across_k<Units>(from + j, b_row, k - p, clip(columns - j)));
      }
    }
    return;
  }
  const int64_t units = (k + kStep - 1) / kStep;
  for (int64_t p = 0; p < units; p += kLanes) {
    const int64_t depth = units - p < kLanes ? units - p : kLanes;
    for (int64_t j = 0; j < kGemmColumns; j += kLanes) {
      Vec square[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        const T* from = b + (j + i) * b_col;
        prefetch(from + p * kStep, 4 * kLine);
        square[i] = j + i < columns ? units_along_k<Units>(from, p * kStep, k) : zero();
      }
      transpose(square);
      for (int64_t i = 0; i < depth; ++i) store(to + (p + i) * kGemmColumns + j, square[i]);
    }
  }
}

// What a tile asks for: every step a part of the next panel of B, of which it takes 1 / kPrefetchTiles, and
// while there are any, a line of what is packed next.
struct Next {
  const float* b;
  const char* line;
  int64_t lines, stride;
};

// One tile: Rows x Vectors vectors of sums in registers, over `units` steps. ByRows is A's panel layout. What
// comes next is fetched into the second-level cache meanwhile.
template <class Units, int Rows, int Vectors, bool ByRows>
static void multiply_tile(int64_t units, const float* a, const float* b, const Next& next, float* c,
                          int64_t c_row, int columns, bool accumulate) {
  const float* next_b = next.b;
  const char* line = next.line;
  const int64_t lines = next.lines, stride = next.stride;
  constexpr int64_t kRow = ByRows ? kRowUnits : 1, kStep = ByRows ? 1 : kGemmRows;
  Vec sums[Rows][Vectors] = {};
#pragma GCC unroll 14
  for (int i = 0; i < Rows; ++i) {
    __builtin_prefetch(c + i * c_row, 1);
    __builtin_prefetch(c + i * c_row + columns - 1, 1);
  }
  for (int64_t p = 0; p < units; ++p, a += kStep, b += kGemmColumns) {
    __builtin_prefetch(next_b + p * (kGemmColumns / kPrefetchTiles), 0, 2);
    __builtin_prefetch(line, 0, 2);
    line += p < lines ? stride : 0;
    Vec right[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) right[j] = load(b + j * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < Rows; ++i) {
      const Vec left = broadcast(a[i * kRow]);
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) sums[i][j] = Units::multiply_add(left, right[j], sums[i][j]);
    }
  }
#pragma GCC unroll 14
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      float* to = c + i * c_row + j * kLanes;
      const int here = columns - j * kLanes;
      if (here >= kLanes) {
        store(to, accumulate ? load(to) + sums[i][j] : sums[i][j]);
      } else {
        store_first(to, accumulate ? load_first(to, here) + sums[i][j] : sums[i][j], here);
      }
    }
  }
}

using Tile = void (*)(int64_t, const float*, const float*, const Next&, float*, int64_t, int, bool);

// Tiles of 1 to kGemmRows rows.
template <class Units, int Vectors, bool ByRows, int... Row>
static Tile tile_of(int rows, Indices<Row...>) {
  static constexpr Tile kTiles[] = {multiply_tile<Units, Row + 1, Vectors, ByRows>...};
  return kTiles[rows - 1];
}

template <class Units, int Vectors, bool ByRows>
static Tile tile_of(int rows) {
  return tile_of<Units, Vectors, ByRows>(rows, typename IndicesUpTo<kGemmRows>::Type{});
}

// The lines that the tile asks for which is the block's `tile`th: a column of the pieces, as many as it has
// steps. Without any, what it reads anyway.
static inline Next next_of_tile(const GemmAhead& ahead, int64_t tile, int64_t units, const float* b) {
  const int64_t tiles = ahead.lines > 0 ? tile / ahead.lines : 0, row = tiles * units;
  if (row >= ahead.rows) return {b, reinterpret_cast<const char*>(b), 0, 0};
  return {b, static_cast<const char*>(ahead.from) + row * ahead.row_bytes + tile % ahead.lines * kLine,
          ahead.rows - row - 1, ahead.row_bytes};
}

template <class Units, bool ByRows>
static void multiply_block(const GemmBlock& block) {
  const int64_t units = (block.k_end - block.k_begin + Units::kPerUnit - 1) / Units::kPerUnit;
  const float* b = block.b + block.k_begin / Units::kPerUnit * kGemmColumns;
  int64_t tiles = 0;
  for (int64_t j = 0; j < block.columns; j += kGemmColumns, b += block.b_panel) {
    const int columns = static_cast<int>(block.columns - j < kGemmColumns ? block.columns - j : kGemmColumns);
    const float* a = block.a;
    const float* next = j + kGemmColumns < block.columns ? b + block.b_panel : b;
    const int64_t part = units * (kGemmColumns / kPrefetchTiles);
    for (int64_t i = 0; i < block.rows; i += kGemmRows, a += kPanelUnits, ++tiles) {
      const int rows = static_cast<int>(block.rows - i < kGemmRows ? block.rows - i : kGemmRows);
      const Tile tile = columns > kLanes ? tile_of<Units, 2, ByRows>(rows) : tile_of<Units, 1, ByRows>(rows);
      const int64_t tiles_done = i / kGemmRows < kPrefetchTiles ? i / kGemmRows : 0;
      tile(units, a, b, next_of_tile(block.ahead, tiles, units, next + tiles_done * part),
           block.c + i * block.c_row + j, block.c_row, columns, block.accumulate);
    }
  }
}

}  // namespace

int64_t gemm_packed_a(int64_t rows) {
  return (rows + kGemmRows - 1) / kGemmRows * kPanelUnits;
}

void gemm_pack_a(Precision precision, int64_t rows, int64_t k, const float* a, int64_t a_row, int64_t a_col,
                 float* to) {
  if (precision == Precision::f32) {
    pack_a<PlainUnits>(rows, k, a, a_row, a_col, to);
  } else {
    pack_a<PairUnits>(rows, k, a, a_row, a_col, to);
  }
}

void gemm_pack_b(Precision precision, int64_t k, int64_t columns, Element type, const void* b, int64_t b_row,
                 int64_t b_col, float* to) {
  const float* f32 = static_cast<const float*>(b);
  const uint16_t* bf16 = static_cast<const uint16_t*>(b);
  if (precision == Precision::f32) {
    if (type == Element::f32) {
      pack_b<PlainUnits>(k, columns, f32, b_row, b_col, to);
    } else {
      pack_b<PlainUnits>(k, columns, bf16, b_row, b_col, to);
    }
  } else if (type == Element::f32) {
    pack_b<PairUnits>(k, columns, f32, b_row, b_col, to);
  } else {
    pack_b<PairUnits>(k, columns, bf16, b_row, b_col, to);
  }
}

void gemm_block(const GemmBlock& block) {
  if (block.precision == Precision::f32 || !kPairs) {
    block.a_by_rows ? multiply_block<PlainUnits, true>(block) : multiply_block<PlainUnits, false>(block);
  } else {
    block.a_by_rows ? multiply_block<PairUnits, true>(block) : multiply_block<PairUnits, false>(block);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
