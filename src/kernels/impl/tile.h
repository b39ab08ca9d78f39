// A small matrix product held in registers: C (m, n vectors) = or += A (m, depth) B (depth, n vectors). Every
// element of C is one chain of fused multiply-adds over depth, in order, so it has the same bits whatever
// tile it is part of and however depth is cut into calls that add.
#pragma once

#include "kernels/impl/pairs.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

constexpr int kTileRows = 6;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;  // 24 sums, 4 of B and 1 of A in 32 registers
#else
constexpr int kTileVectors = 2;  // 12 sums, 2 of B and 1 of A in 16 registers
#endif

// How A is stored and whether C is added to. In `columns`, a row of A is a column of what is in memory.
enum class TileForm { assign, add, add_columns };

// What a number of the inner dimension is: an f32, or where the machine multiplies them, a pair of bf16 that
// are neighbours along it. Both take 32 bits.
struct Single {
  static inline Vec spread(const float* from) { return broadcast(*from); }
  static inline Vec multiply_add(Vec a, Vec b, Vec sum) { return fma(a, b, sum); }
};
#if defined(__AVX512BF16__)
struct Pair {
  static inline Vec spread(const float* from) {
    int32_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    return (Vec)_mm512_set1_epi32(bits);
  }
  static inline Vec multiply_add(Vec a, Vec b, Vec sum) { return multiply_add_pairs(a, b, sum); }
};
#endif

// a: element (i, d) at a[i * a_stride + d], or with add_columns at a[d * a_stride + i].
using TileFunction = void (*)(int64_t depth, const float* a, int64_t a_stride, const float* b,
                              int64_t b_stride, float* c, int64_t c_stride);

template <TileForm kForm, class Unit, int kRows, int kVectors>
static void tile(int64_t depth, const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
                 int64_t c_stride) {
  Vec sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      sums[i][j] = kForm == TileForm::assign ? zero() : load(c + i * c_stride + j * kLanes);
    }
  }
  for (int64_t d = 0; d < depth; ++d) {
    Vec row[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) row[j] = load(b + d * b_stride + j * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const Vec x =
          Unit::spread(kForm == TileForm::add_columns ? a + d * a_stride + i : a + i * a_stride + d);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[i][j] = Unit::multiply_add(x, row[j], sums[i][j]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store(c + i * c_stride + j * kLanes, sums[i][j]);
  }
}

// kTiles<form>.of[rows - 1][vectors - 1]
template <TileForm kForm, class Unit>
struct Tiles {
  TileFunction of[kTileRows][kTileVectors];
};
template <TileForm kForm, class Unit, int kRows>
static constexpr void fill_tile_row(TileFunction (&row)[kTileVectors]) {
  row[0] = tile<kForm, Unit, kRows, 1>;
  row[1] = tile<kForm, Unit, kRows, 2>;
  if constexpr (kTileVectors == 4) {
    row[2] = tile<kForm, Unit, kRows, 3>;
    row[3] = tile<kForm, Unit, kRows, 4>;
  }
}
template <TileForm kForm, class Unit>
static constexpr Tiles<kForm, Unit> make_tiles() {
  Tiles<kForm, Unit> tiles{};
  fill_tile_row<kForm, Unit, 1>(tiles.of[0]);
  fill_tile_row<kForm, Unit, 2>(tiles.of[1]);
  fill_tile_row<kForm, Unit, 3>(tiles.of[2]);
  fill_tile_row<kForm, Unit, 4>(tiles.of[3]);
  fill_tile_row<kForm, Unit, 5>(tiles.of[4]);
  fill_tile_row<kForm, Unit, 6>(tiles.of[5]);
  return tiles;
}
template <TileForm kForm, class Unit = Single>
constexpr Tiles<kForm, Unit> kTiles = make_tiles<kForm, Unit>();

// Vectors of the next tile when `left` remain: as even as possible, so that no tile is narrow.
static inline int next_vectors(int64_t left) {
  const int64_t tiles = (left + kTileVectors - 1) / kTileVectors;
  return static_cast<int>((left + tiles - 1) / tiles);
}

// One strip of C: rows <= kTileRows, any number of vectors.
template <TileForm kForm, class Unit = Single>
static inline void strip(int rows, int64_t vectors, int64_t depth, const float* a, int64_t a_stride,
                         const float* b, int64_t b_stride, float* c, int64_t c_stride) {
  for (int64_t j = 0; j < vectors;) {
    const int width = next_vectors(vectors - j);
    kTiles<kForm, Unit>.of[rows - 1][width - 1](depth, a, a_stride, b + j * kLanes, b_stride, c + j * kLanes,
                                                c_stride);
    j += width;
  }
}

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
