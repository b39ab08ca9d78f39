// Backward attention of one kv head. Blocks of keys are the outer loop and hold their dk and dv; for each,
// blocks of rows compute weights P and score gradients dS again, then dv += P^T dout, dk += dS^T q, dq += dS
// k. Every element of a gradient is one chain of additions in the order of rows or keys, however the loops
// are cut.
#include "kernels/impl/attention_common.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// A block of rows against a block of keys, `slot` of the chunk; ranges of keys count from the block's first
// key.
struct Block {
  const AttentionHead& h;
  const AttentionGradTask& t;
  int64_t first, rows, key_begin, keys, slot;
  Range seen[kRowBlock];

  Block(const AttentionHead& head, const AttentionGradTask& task, int64_t row, int64_t chunk, int64_t block)
      : h(head),
        t(task),
        first(row),
        rows(smaller(kRowBlock, task.row_end - row)),
        key_begin(chunk + block * kKeyBlock),
        keys(smaller(kKeyBlock, task.key_end - key_begin)),
        slot(block) {
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
  const int64_t at = (b.first + row) / b.h.group * b.t.lse_row + (b.first + row) % b.h.group;
  const Vec scale = broadcast(b.h.scale), lse = broadcast(-b.t.lse[at]), delta = broadcast(b.t.delta[at]);
  for (int64_t j = whole.begin; j < whole.end; j += kLanes) {
    const Vec p = exp_nonpositive(fma(mask_outside(load(weights + j), j, seen), scale, lse));
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
                            s.key_columns + b.slot * kKeyBlock * b.h.qk_dim + whole.begin, kKeyBlock,
                            s.weights + to, kKeyBlock);
    strip<TileForm::assign>(b.strip_rows(i), vectors, b.h.v_dim, s.dout + i * b.h.v_padded, b.h.v_padded,
                            s.value_columns + b.slot * kKeyBlock * b.h.v_dim + whole.begin, kKeyBlock,
                            s.dscores + to, kKeyBlock);
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
                                 s.dout + rows.begin * E, E, s.dv + (b.slot * kKeyBlock + j) * E, E);
    strip<TileForm::add_columns>(count, D / kLanes, depth, s.dscores + from, kKeyBlock, s.q + rows.begin * D,
                                 D, s.dk + (b.slot * kKeyBlock + j) * D, D);
  }
}

// dq of the block's rows: sums over keys.
static inline void add_query_gradients(const Block& b) {
  const AttentionGradScratch& s = b.t.scratch;
  const int64_t D = b.t.qk_padded;
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    const Range columns = b.seen_by_strip(i);
    if (columns.begin >= columns.end) continue;
    strip<TileForm::add>(b.strip_rows(i), D / kLanes, columns.end - columns.begin,
                         s.dscores + i * kKeyBlock + columns.begin, kKeyBlock,
                         s.key_rows + (b.slot * kKeyBlock + columns.begin) * D, D, s.dq + i * D, D);
  }
}

static inline void pack_keys(const AttentionHead& h, const AttentionGradTask& t, int64_t begin, int64_t end) {
  const AttentionGradScratch& s = t.scratch;
  const float *k = static_cast<const float*>(h.k), *v = static_cast<const float*>(h.v);
  for (int64_t key = begin; key < end; key += kKeyBlock) {
    const int64_t slot = key - begin, keys = smaller(kKeyBlock, end - key);
    pack_columns(k + key * h.k_row, h.k_row, h.qk_dim, keys, s.key_columns + slot * h.qk_dim);
    pack_columns(v + key * h.v_row, h.v_row, h.v_dim, keys, s.value_columns + slot * h.v_dim);
  }
  if (t.dq) widen_rows(k + begin * h.k_row, h.k_row, h.qk_dim, end - begin, s.key_rows, t.qk_padded);
  if (!t.dk) return;
  const float *dk = t.dk, *dv = t.dv;
  widen_rows(dk + begin * h.k_row, h.k_row, h.qk_dim, end - begin, s.dk, t.qk_padded);
  widen_rows(dv + begin * h.v_row, h.v_row, h.v_dim, end - begin, s.dv, h.v_padded);
}

static inline void copy_out(const float* from, int64_t stride, int64_t dim, int64_t count, float* to,
                            int64_t row) {
  for (int64_t j = 0; j < count; ++j) {
    for_vectors(dim,
                [&](int64_t d, auto part) { put(to + j * row + d, get(from + j * stride + d, part), part); });
  }
}

// A block of rows against the chunk's keys that it sees.
static inline void add_rows_block(const AttentionHead& h, const AttentionGradTask& t, int64_t row,
                                  int64_t chunk, Range seen) {
  const AttentionGradScratch& s = t.scratch;
  const int64_t end = smaller(row + kRowBlock, t.row_end);
  copy_rows(h.q, h.q_row, h.group, h.qk_dim, row, end, s.q, t.qk_padded);
  copy_rows(t.dout, t.dout_row, h.group, h.v_dim, row, end, s.dout, h.v_padded);
  if (t.dq) copy_rows(t.dq, t.dq_row, h.group, h.qk_dim, row, end, s.dq, t.qk_padded);
  for (int64_t slot = (seen.begin - chunk) / kKeyBlock; chunk + slot * kKeyBlock < seen.end; ++slot) {
    const Block block(h, t, row, chunk, slot);
    score_gradients(block);
    if (t.dk) add_key_gradients(block);
    if (t.dq) add_query_gradients(block);
  }
  for (int64_t i = row; i < end && t.dq; ++i) {
    copy_out(s.dq + (i - row) * t.qk_padded, 0, h.qk_dim, 1,
             t.dq + i / h.group * t.dq_row + i % h.group * h.qk_dim, 0);
  }
}

}  // namespace

void attention_backward(const AttentionHead& h, const AttentionGradTask& t) {
  for (int64_t chunk = t.key_begin; chunk < t.key_end; chunk += kGradKeys) {
    const Range keys = {chunk, smaller(chunk + kGradKeys, t.key_end)};
    const Range used = overlap(seen_by(h, t.row_begin, t.row_end - 1), keys);
    if (used.begin >= used.end) continue;
    pack_keys(h, t, keys.begin, keys.end);
    for (int64_t row = t.row_begin; row < t.row_end; row += kRowBlock) {
      const Range seen = overlap(seen_by(h, row, smaller(row + kRowBlock, t.row_end) - 1), keys);
      if (seen.begin < seen.end) add_rows_block(h, t, row, chunk, seen);
    }
    if (!t.dk) continue;
    const AttentionGradScratch& s = t.scratch;
    copy_out(s.dk, t.qk_padded, h.qk_dim, keys.end - keys.begin, t.dk + chunk * h.k_row, h.k_row);
    copy_out(s.dv, h.v_padded, h.v_dim, keys.end - keys.begin, t.dv + chunk * h.v_row, h.v_row);
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
