// Backward attention of one kv head. Blocks of keys are the outer loop and hold their dk and dv; for each,
// blocks of rows compute weights P and score gradients dS again, then dv += P^T dout, dk += dS^T q, dq += dS
// k. Every element of a gradient is one chain of additions in the order of rows or keys, however the loops
// are cut.
#include "kernels/impl/attention_common.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// A block of rows against a block of keys; ranges of keys count from the block's first key.
struct Block {
  const AttentionHead& h;
  const AttentionGradTask& t;
  int64_t first, rows, key_begin, keys;
  Range seen[kRowBlock];

  Block(const AttentionHead& head, const AttentionGradTask& task, int64_t row, int64_t key)
      : h(head),
        t(task),
        first(row),
        rows(smaller(kRowBlock, task.row_end - row)),
        key_begin(key),
        keys(smaller(kKeyBlock, task.key_end - key)) {
    for (int64_t i = 0; i < rows; ++i) {
      const Range all = seen_by(h, first + i);
      seen[i] = overlap({all.begin - key_begin, all.end - key_begin}, {0, keys});
    }
  }
  int strip_rows(int64_t i) const { return static_cast<int>(smaller(kTileRows, rows - i)); }
  Range seen_by_strip(int64_t i) const { return {seen[i].begin, seen[i + strip_rows(i) - 1].end}; }
  // Rows that see any of keys [begin, end).
  Range rows_seeing(int64_t begin, int64_t end) const {
    Range range = {0, rows};
    while (range.begin < rows && seen[range.begin].end <= begin) ++range.begin;
    while (range.end > range.begin && seen[range.end - 1].begin >= end) --range.end;
    return range;
  }
};

static inline void clear(float* x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += kLanes) store(x + i, zero());
}

// weights: exp(scale * score - lse), dscores: weight * (dP - delta) * scale, both 0 where a row does not see
// a key.
static inline void softmax_gradient_row(const Block& b, int64_t row, Range whole) {
  const AttentionGradScratch& s = b.t.scratch;
  float *weights = s.weights + row * kKeyBlock, *dscores = s.dscores + row * kKeyBlock;
  const Range seen = b.seen[row];
  if (seen.begin >= seen.end) whole = {0, 0};
  clear(weights, 0, whole.begin);
  clear(dscores, 0, whole.begin);
  clear(weights, whole.end, kKeyBlock);
  clear(dscores, whole.end, kKeyBlock);
  if (whole.begin >= whole.end) return;
  mask_outside(weights, whole, seen);
  const int64_t at = (b.first + row) / b.h.group * b.t.lse_row + (b.first + row) % b.h.group;
  const Vec scale = broadcast(b.h.scale), lse = broadcast(-b.t.lse[at]), delta = broadcast(b.t.delta[at]);
  for (int64_t j = whole.begin; j < whole.end; j += kLanes) {
    const Vec p = exp(fma(load(weights + j), scale, lse));
    store(weights + j, p);
    store(dscores + j, p * scale * (load(dscores + j) - delta));
  }
}

static inline void score_gradients(const Block& b) {
  const AttentionGradScratch& s = b.t.scratch;
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    const Range columns = b.seen_by_strip(i);
    const Range whole = columns.begin < columns.end ? whole_vectors(columns) : Range{0, 0};
    const int64_t vectors = (whole.end - whole.begin) / kLanes, to = i * kKeyBlock + whole.begin;
    strip<TileForm::assign>(b.strip_rows(i), vectors, b.h.qk_dim, s.q + i * b.t.qk_padded, b.t.qk_padded,
                            s.key_columns + whole.begin, kKeyBlock, s.weights + to, kKeyBlock);
    strip<TileForm::assign>(b.strip_rows(i), vectors, b.h.v_dim, s.dout + i * b.h.v_padded, b.h.v_padded,
                            s.value_columns + whole.begin, kKeyBlock, s.dscores + to, kKeyBlock);
    for (int64_t row = i; row < i + b.strip_rows(i); ++row) softmax_gradient_row(b, row, whole);
  }
}

// dk and dv of the block's keys: sums over rows.
static inline void add_key_gradients(const Block& b) {
  const AttentionGradScratch& s = b.t.scratch;
  const int64_t D = b.t.qk_padded, E = b.h.v_padded;
  for (int64_t j = 0; j < b.keys; j += kTileRows) {
    const int count = static_cast<int>(smaller(kTileRows, b.keys - j));
    const Range rows = b.rows_seeing(j, j + count);
    if (rows.begin >= rows.end) continue;
    const int64_t depth = rows.end - rows.begin, from = rows.begin * kKeyBlock + j;
    strip<TileForm::add_columns>(count, E / kLanes, depth, s.weights + from, kKeyBlock,
                                 s.dout + rows.begin * E, E, s.dv + j * E, E);
    strip<TileForm::add_columns>(count, D / kLanes, depth, s.dscores + from, kKeyBlock, s.q + rows.begin * D,
                                 D, s.dk + j * D, D);
  }
}

struct Rows {
  const float* row;
  int64_t stride;
};

// dq of the block's rows: sums over keys.
static inline void add_query_gradients(const Block& b, Rows keys) {
  const AttentionGradScratch& s = b.t.scratch;
  const int64_t D = b.t.qk_padded;
  copy_rows(b.t.dq, b.t.dq_row, b.h.group, b.h.qk_dim, b.first, b.first + b.rows, s.dq, D);
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    const Range columns = b.seen_by_strip(i);
    if (columns.begin >= columns.end) continue;
    strip<TileForm::add>(b.strip_rows(i), D / kLanes, columns.end - columns.begin,
                         s.dscores + i * kKeyBlock + columns.begin, kKeyBlock,
                         keys.row + columns.begin * keys.stride, keys.stride, s.dq + i * D, D);
  }
  for (int64_t i = 0; i < b.rows; ++i) {
    const int64_t row = b.first + i;
    float* to = b.t.dq + row / b.h.group * b.t.dq_row + row % b.h.group * b.h.qk_dim;
    for_vectors(b.h.qk_dim, [&](int64_t d, auto part) { put(to + d, get(s.dq + i * D + d, part), part); });
  }
}

static inline void copy_out(const float* from, int64_t stride, int64_t dim, int64_t count, float* to,
                            int64_t row) {
  for (int64_t j = 0; j < count; ++j) {
    for_vectors(dim,
                [&](int64_t d, auto part) { put(to + j * row + d, get(from + j * stride + d, part), part); });
  }
}

}  // namespace

void attention_backward(const AttentionHead& h, const AttentionGradTask& t) {
  const AttentionGradScratch& s = t.scratch;
  const float *k = static_cast<const float*>(h.k), *v = static_cast<const float*>(h.v);
  for (int64_t key = t.key_begin; key < t.key_end; key += kKeyBlock) {
    const int64_t keys = smaller(kKeyBlock, t.key_end - key);
    const Range used = overlap(seen_by(h, t.row_begin, t.row_end - 1), {key, key + keys});
    if (used.begin >= used.end) continue;
    pack_columns(k + key * h.k_row, h.k_row, h.qk_dim, keys, s.key_columns);
    pack_columns(v + key * h.v_row, h.v_row, h.v_dim, keys, s.value_columns);
    Rows key_rows = {k + key * h.k_row, h.k_row};
    if (t.dq && h.qk_dim != t.qk_padded) {
      widen_rows(key_rows.row, h.k_row, h.qk_dim, keys, s.key_rows, t.qk_padded);
      key_rows = {s.key_rows, t.qk_padded};
    }
    if (t.dk) {
      widen_rows(static_cast<const float*>(t.dk) + key * h.k_row, h.k_row, h.qk_dim, keys, s.dk, t.qk_padded);
      widen_rows(static_cast<const float*>(t.dv) + key * h.v_row, h.v_row, h.v_dim, keys, s.dv, h.v_padded);
    }
    for (int64_t row = t.row_begin; row < t.row_end; row += kRowBlock) {
      const int64_t last = smaller(row + kRowBlock, t.row_end) - 1;
      const Range seen = overlap(seen_by(h, row, last), {key, key + keys});
      if (seen.begin >= seen.end) continue;
      const Block block(h, t, row, key);
      copy_rows(h.q, h.q_row, h.group, h.qk_dim, row, last + 1, s.q, t.qk_padded);
      copy_rows(t.dout, t.dout_row, h.group, h.v_dim, row, last + 1, s.dout, h.v_padded);
      score_gradients(block);
      if (t.dk) add_key_gradients(block);
      if (t.dq) add_query_gradients(block, key_rows);
    }
    if (t.dk) {
      copy_out(s.dk, t.qk_padded, h.qk_dim, keys, t.dk + key * h.k_row, h.k_row);
      copy_out(s.dv, h.v_padded, h.v_dim, keys, t.dv + key * h.v_row, h.v_row);
    }
  }
}

void attention_delta(int64_t rows, int64_t heads, int64_t v_dim, const float* out, int64_t out_row,
                     const float* dout, int64_t dout_row, float* delta) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t head = 0; head < heads; ++head) {
      const float *a = out + row * out_row + head * v_dim, *b = dout + row * dout_row + head * v_dim;
      delta[row * heads + head] =
          sum_vectors(v_dim, [&](int64_t i, auto part) { return get(a + i, part) * get(b + i, part); });
    }
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
