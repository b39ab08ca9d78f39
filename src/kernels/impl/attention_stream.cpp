// Forward attention for few rows: decoding and verifying. Keys and values are read once from memory, as they
// lie, for all rows that share them; nothing is transposed. A score is summed in kLanes chains over the
// head's width, which are then folded; every key of a chunk goes through the same operations, so it does not
// matter where in a group of keys it stands.
#include "kernels/impl/attention_softmax.h"
#include "kernels/impl/weigh.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// Rows of a register tile; keys of a tile, of which four give the scores of kLanes keys.
constexpr int kStreamRows = kWeighRows;
constexpr int kTileKeys = kLanes / 4;
constexpr int64_t kAhead = 32;  // keys between what is prefetched and what is read

// Adds the halves of every 2 Step lanes: of a into the lower, of b into the upper one.
template <int Step>
static inline Vec fold(Vec a, Vec b) {
  exchange<Step>(a, b, typename IndicesUpTo<kLanes>::Type{});
  return a + b;
}
// Lanes l, l + 4, ... of the result belong to sums[0], sums[1], ...: the key of a tile 4 further on each.
static inline Vec fold_tile(const Vec (&sums)[kTileKeys]) {
  if constexpr (kTileKeys == 4) {
    return fold<4>(fold<8>(sums[0], sums[2]), fold<8>(sums[1], sums[3]));
  } else if constexpr (kTileKeys == 2) {
    return fold<4>(sums[0], sums[1]);
  } else {
    return sums[0];
  }
}

// Up to kStreamRows rows of a kv head against the keys of one chunk.
struct Strip {
  const AttentionHead& h;
  const char* k;  // of the chunk's first key
  int64_t keys;   // that the chunk has
  const float* q[kStreamRows];
  float* scores;  // (rows, kKeyChunk)
};

// Scores of keys [first, first + kLanes); those beyond the last key repeat its score.
template <KvType kType, int kRows>
static inline void score_keys(const Strip& s, int64_t first) {
  using Row = KvRow<kType>;
  const int64_t dim = s.h.qk_dim;
  Vec folded[4][kRows];
  for (int tile = 0; tile < 4; ++tile) {
    const char* key[kTileKeys];
#pragma GCC unroll 4
    for (int c = 0; c < kTileKeys; ++c) {
      key[c] = s.k + smaller(first + tile + 4 * c, s.keys - 1) * s.h.k_bytes;
    }
    Vec sums[kRows][kTileKeys] = {};
    int64_t d = 0;
    for (; d + Row::kStep <= dim; d += Row::kStep) {
      Vec keys[kTileKeys][Row::kParts];
#pragma GCC unroll 4
      for (int c = 0; c < kTileKeys; ++c) Row::read(key[c], d, keys[c]);
#pragma GCC unroll 8
      for (int part = 0; part < Row::kParts; ++part) {
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const Vec x = load(s.q[r] + d + part * kLanes);
#pragma GCC unroll 4
          for (int c = 0; c < kTileKeys; ++c) sums[r][c] = fma(x, keys[c][part], sums[r][c]);
        }
      }
    }
    if (d < dim) {
      const int n = static_cast<int>(dim - d);
      for (int r = 0; r < kRows; ++r) {
        const Vec x = load_first(s.q[r] + d, n);
#pragma GCC unroll 4
        for (int c = 0; c < kTileKeys; ++c) sums[r][c] = fma(x, Row::read_first(key[c], d, n), sums[r][c]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) folded[tile][r] = fold_tile(sums[r]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const Vec all = fold<1>(fold<2>(folded[0][r], folded[2][r]), fold<2>(folded[1][r], folded[3][r]));
    store(s.scores + r * kKeyChunk + first, all);
  }
}

using Score = void (*)(const Strip&, int64_t first);
template <KvType kType>
static inline Score score_of(int rows) {
  if (rows == 1) return score_keys<kType, 1>;
  if (rows == 2) return score_keys<kType, 2>;
  if (rows == 3) return score_keys<kType, 3>;
  return score_keys<kType, kStreamRows>;
}
// Rows [first, first + rows) of a task, at most kRowBlock, against the chunk that begins at key `begin`.
struct Rows {
  const AttentionHead& h;
  const AttentionScratch& s;
  int64_t first, rows, begin;

  int strip_rows(int64_t i) const { return static_cast<int>(smaller(kStreamRows, rows - i)); }
  Range within_chunk(Range keys) const {
    return overlap({keys.begin - begin, keys.end - begin}, {0, kKeyChunk});
  }
  Range seen_by_strip(int64_t i) const {
    return within_chunk(seen_by(h, first + i, first + i + strip_rows(i) - 1));
  }
  Strip strip(int64_t i) const {
    Strip strip{.h = h,
                .k = static_cast<const char*>(h.k) + begin * h.k_bytes,
                .keys = smaller(kKeyChunk, h.keys - begin),
                .q = {},
                .scores = s.scores + i * kKeyChunk};
    for (int r = 0; r < strip_rows(i); ++r) {
      const int64_t row = first + i + r;
      strip.q[r] = h.q + row / h.group * h.q_row + row % h.group * h.qk_dim;
    }
    return strip;
  }
};

// One head's part of kLanes rows, from row `first` of those of a chunk. Parts of different heads alternate in
// memory, which hardware prefetchers do not follow.
static inline void prefetch_rows(const void* base, int64_t first, int64_t keys, int64_t row_bytes,
                                 int64_t bytes) {
  constexpr int64_t kLine = 64;
  for (int64_t j = first; j < smaller(first + kLanes, keys); ++j) {
    const char* row = static_cast<const char*>(base) + j * row_bytes;
    for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(row + i);
  }
}

// Groups of keys outside, rows inside: a key comes from memory once. The values follow, so they are on their
// way already.
template <KvType kType>
static inline void score_rows(const Rows& b, Range seen) {
  const Range whole = whole_vectors(seen);
  const auto bytes = [](int64_t values) {
    return kType == KvType::q8_0 ? values / kQ8Values * kQ8Bytes : values * (kType == KvType::f32 ? 4 : 2);
  };
  for (int64_t j = whole.begin; j < whole.end; j += kLanes) {
    prefetch_rows(b.h.k, b.begin + j + kAhead, b.h.keys, b.h.k_bytes, bytes(b.h.qk_dim));
    prefetch_rows(b.h.v, b.begin + j, b.h.keys, b.h.v_bytes, bytes(b.h.v_dim));
    for (int64_t i = 0; i < b.rows; i += kStreamRows) {
      const Range own = whole_vectors(b.seen_by_strip(i));
      if (j >= own.begin && j < own.end) score_of<kType>(b.strip_rows(i))(b.strip(i), j);
    }
  }
}

template <KvType kType>
static inline void add_chunk(const Rows& b, AttentionState state) {
  const Range seen = b.within_chunk(seen_by(b.h, b.first, b.first + b.rows - 1));
  if (seen.begin >= seen.end) return;
  score_rows<kType>(b, seen);
  const bool direct = untouched(state, b.rows);
  const AttentionState to = direct ? state : b.s.part;
  if (!direct) {
    for (int64_t i = 0; i < b.rows * b.h.v_padded; i += kLanes) store(to.out + i, zero());
  }
  for (int64_t i = 0; i < b.rows; i += kStreamRows) {
    const Range keys = b.seen_by_strip(i), whole = whole_vectors(keys);
    for (int64_t row = i; row < i + b.strip_rows(i); ++row) {
      to.max[row] = -__builtin_inff(), to.sum[row] = 0;
      if (keys.begin >= keys.end) continue;
      softmax_row(b.s.scores + row * kKeyChunk, whole, b.within_chunk(seen_by(b.h, b.first + row)), b.h.scale,
                  to.max + row, to.sum + row, keep_float);
    }
    if (keys.begin >= keys.end) continue;
    weigh<kType>(b.strip_rows(i),
                 {.rows = static_cast<const char*>(b.h.v) + (b.begin + keys.begin) * b.h.v_bytes,
                  .row_bytes = b.h.v_bytes,
                  .count = keys.end - keys.begin,
                  .width = b.h.v_dim,
                  .weights = b.s.scores + i * kKeyChunk + keys.begin,
                  .weights_row = kKeyChunk,
                  .out = to.out + i * b.h.v_padded,
                  .out_row = b.h.v_padded});
  }
  for (int64_t row = 0; row < b.rows && !direct; ++row) {
    merge_row(b.h.v_padded, state.max + row, state.sum + row, state.out + row * b.h.v_padded, to.max[row],
              to.sum[row], to.out + row * b.h.v_padded);
  }
}

template <KvType kType>
static inline void stream(const AttentionHead& h, const AttentionTask& task) {
  for (int64_t chunk = task.chunk_begin; chunk < task.chunk_end; ++chunk) {
    for (int64_t row = task.row_begin; row < task.row_end; row += kRowBlock) {
      add_chunk<kType>({h, task.scratch, row, smaller(kRowBlock, task.row_end - row), chunk * kKeyChunk},
                       state_at(task.state, row - task.row_begin, h.v_padded));
    }
  }
}

}  // namespace

void attention_stream(const AttentionHead& h, const AttentionTask& task) {
  if (h.kv_type == KvType::f32) {
    stream<KvType::f32>(h, task);
  } else if (h.kv_type == KvType::bf16) {
    stream<KvType::bf16>(h, task);
  } else {
    stream<KvType::q8_0>(h, task);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
