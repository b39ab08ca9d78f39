// Backward attention of one kv head. Blocks of keys are the outer loop and hold their dk and dv; for each,
// blocks of rows compute weights P and score gradients dS again, then dv += P^T dout, dk += dS^T q, dq += dS
// k. Every element of a gradient is one chain of additions in the order of rows or keys, however the loops
// are cut.
#include "kernels/impl/attention_grad_forms.h"

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

// What the score gradients of a row are made from. A row that sees nothing of the block has no weights.
struct ScoreRow {
  const float *scores = nullptr, *dweights = nullptr;  // q k, and dP, of the block's keys
  Vec scale = {}, lse = {}, delta = {};
  Range seen = {0, 0}, whole = {0, 0};

  // Of keys [j, j + kLanes): weights exp(scale * score - lse) and weight * (dP - delta) * scale, both 0 where
  // the row does not see a key.
  inline void gradients(int64_t j, Vec& weight, Vec& dscore) const {
    if (j < whole.begin || j >= whole.end) {
      weight = dscore = zero();
      return;
    }
    weight = exp_nonpositive(fma(mask_outside(load(scores + j), j, seen), scale, lse));
    dscore = weight * scale * (load(dweights + j) - delta);
  }
};

static inline ScoreRow score_row(const Block& b, int64_t row, Range whole) {
  const AttentionGradScratch& s = b.t.scratch;
  const Range seen = b.seen[row];
  if (seen.begin >= seen.end) return {};
  const int64_t at = (b.first + row) / b.h.group * b.t.lse_row + (b.first + row) % b.h.group;
  return {.scores = s.weights + row * kKeyBlock,
          .dweights = s.dscores + row * kKeyBlock,
          .scale = broadcast(b.h.scale),
          .lse = broadcast(-b.t.lse[at]),
          .delta = broadcast(b.t.delta[at]),
          .seen = seen,
          .whole = whole};
}

// Asks for rows that the next block reads, a few at a time while this one computes: rows of a head lie far
// apart, so the hardware does not.
static inline void ask_for_rows(const HeadRows& x, int64_t begin, int64_t end) {
  constexpr int64_t kLine = 64 / sizeof(float);
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t i = 0; i < x.dim; i += kLine) __builtin_prefetch(x.row(row) + i, 0, 2);
  }
}
static inline void ask_for_next_rows(const Block& b, int64_t i) {
  const int64_t begin = b.first + kRowBlock + i, end = smaller(begin + kTileRows, b.t.row_end);
  ask_for_rows({b.h.q, b.h.q_row, b.h.group, b.h.qk_dim}, begin, end);
  ask_for_rows({b.t.dout, b.t.dout_row, b.h.group, b.h.v_dim}, begin, end);
}

template <class Form>
static inline void score_gradients(const Block& b) {
  const AttentionGradScratch& s = b.t.scratch;
  const int64_t depth = Form::units(b.h.qk_dim), v_depth = Form::units(b.h.v_dim);
  const int64_t q_row = b.t.qk_padded / Form::kPerUnit, dout_row = b.h.v_padded / Form::kPerUnit;
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    const Range columns = b.seen_by_strip(i);
    const Range whole = columns.begin < columns.end ? whole_vectors(columns) : Range{0, 0};
    const int64_t vectors = (whole.end - whole.begin) / kLanes, to = i * kKeyBlock + whole.begin;
    const int64_t end = i + b.strip_rows(i);
    if (b.slot == 0) ask_for_next_rows(b, i);
    strip<TileForm::assign, typename Form::Unit>(b.strip_rows(i), vectors, depth, s.q + i * q_row, q_row,
                                                 s.key_columns + b.slot * kKeyBlock * depth + whole.begin,
                                                 kKeyBlock, s.weights + to, kKeyBlock);
    strip<TileForm::assign, typename Form::Unit>(
        b.strip_rows(i), vectors, v_depth, s.dout + i * dout_row, dout_row,
        s.value_columns + b.slot * kKeyBlock * v_depth + whole.begin, kKeyBlock, s.dscores + to, kKeyBlock);
    for (int64_t row = i; row < end; row += Form::kPerUnit) {
      ScoreRow rows[Form::kPerUnit];
      for (int r = 0; r < Form::kPerUnit && row + r < end; ++r) rows[r] = score_row(b, row + r, whole);
      for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
        Vec weights[Form::kPerUnit], dscores[Form::kPerUnit];
#pragma GCC unroll 2
        for (int r = 0; r < Form::kPerUnit; ++r) rows[r].gradients(j, weights[r], dscores[r]);
        Form::keep(s, row, j, weights, dscores);
      }
    }
  }
}

// The units that hold numbers [begin, end).
template <class Form>
static inline Range units_of(Range range) {
  return {range.begin / Form::kPerUnit, Form::units(range.end)};
}

// dk and dv of the block's keys: sums over rows.
template <class Form>
static inline void add_key_gradients(const Block& b) {
  const AttentionGradScratch& s = b.t.scratch;
  const int64_t D = b.t.qk_padded, E = b.h.v_padded;
  for (int64_t j = 0; j < b.keys; j += kTileRows) {
    const int count = static_cast<int>(smaller(kTileRows, b.keys - j));
    const Range rows = b.rows_seeing(j, j + count);
    if (rows.begin >= rows.end) continue;
    const Range steps = units_of<Form>(rows);
    const int64_t depth = steps.end - steps.begin, from = steps.begin * kKeyBlock + j;
    strip<TileForm::add_columns, typename Form::Unit>(count, E / kLanes, depth, s.weight_steps + from,
                                                      kKeyBlock, s.dout_steps + steps.begin * E, E,
                                                      s.dv + (b.slot * kKeyBlock + j) * E, E);
    strip<TileForm::add_columns, typename Form::Unit>(count, D / kLanes, depth, s.dscore_steps + from,
                                                      kKeyBlock, s.q_steps + steps.begin * D, D,
                                                      s.dk + (b.slot * kKeyBlock + j) * D, D);
  }
}

// dq of the block's rows: sums over keys.
template <class Form>
static inline void add_query_gradients(const Block& b) {
  constexpr int64_t kUnits = kKeyBlock / Form::kPerUnit;
  const AttentionGradScratch& s = b.t.scratch;
  const int64_t D = b.t.qk_padded;
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    const Range columns = b.seen_by_strip(i);
    if (columns.begin >= columns.end) continue;
    const Range steps = units_of<Form>(columns);
    strip<TileForm::add, typename Form::Unit>(
        b.strip_rows(i), D / kLanes, steps.end - steps.begin, s.dscore_rows + i * kUnits + steps.begin,
        kUnits, s.key_steps + (b.slot * kUnits + steps.begin) * D, D, s.dq + i * D, D);
  }
}

template <class Form>
static inline void pack_keys(const AttentionHead& h, const AttentionGradTask& t, int64_t begin, int64_t end) {
  const AttentionGradScratch& s = t.scratch;
  const float *k = static_cast<const float*>(h.k), *v = static_cast<const float*>(h.v);
  for (int64_t key = begin; key < end; key += kKeyBlock) {
    const int64_t slot = key - begin, keys = smaller(kKeyBlock, end - key);
    Form::pack_key_columns(k + key * h.k_row, h.k_row, h.qk_dim, keys,
                           s.key_columns + slot * Form::units(h.qk_dim));
    Form::pack_key_columns(v + key * h.v_row, h.v_row, h.v_dim, keys,
                           s.value_columns + slot * Form::units(h.v_dim));
  }
  if (t.dq) {
    Form::pack_key_steps(k + begin * h.k_row, h.k_row, h.qk_dim, end - begin, t.qk_padded, s.key_steps);
  }
}

static inline void clear(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(x + i, zero());
}

// dk and dv of keys [begin, end) as they are so far.
static inline void begin_key_gradients(const AttentionHead& h, const AttentionGradTask& t, int64_t begin,
                                       int64_t end) {
  const AttentionGradScratch& s = t.scratch;
  if (!t.accumulate) {
    clear(s.dk, (end - begin) * t.qk_padded);
    clear(s.dv, (end - begin) * h.v_padded);
    return;
  }
  const float *dk = t.dk + begin * h.k_row, *dv = t.dv + begin * h.v_row;
  widen_rows(dk, h.k_row, h.qk_dim, end - begin, s.dk, t.qk_padded);
  widen_rows(dv, h.v_row, h.v_dim, end - begin, s.dv, h.v_padded);
}

static inline void copy_out(const float* from, int64_t stride, int64_t dim, int64_t count, float* to,
                            int64_t row) {
  for (int64_t j = 0; j < count; ++j) {
    for_vectors(dim,
                [&](int64_t d, auto part) { put(to + j * row + d, get(from + j * stride + d, part), part); });
  }
}

// dq of rows [row, end) as it is so far; `first`: nobody has added to it.
static inline void begin_query_gradients(const AttentionHead& h, const AttentionGradTask& t, int64_t row,
                                         int64_t end, bool first) {
  if (first && !t.accumulate) return clear(t.scratch.dq, (end - row) * t.qk_padded);
  copy_rows(t.dq, t.dq_row, h.group, h.qk_dim, row, end, t.scratch.dq, t.qk_padded);
}

// A block of rows against the chunk's keys that it sees, some of all that it sees.
template <class Form>
static inline void add_rows_block(const AttentionHead& h, const AttentionGradTask& t, int64_t row,
                                  int64_t chunk, Range seen, Range all) {
  const AttentionGradScratch& s = t.scratch;
  const int64_t end = smaller(row + kRowBlock, t.row_end);
  Form::pack_rows({h.q, h.q_row, h.group, h.qk_dim}, row, end, t.qk_padded, s.q, s.q_steps);
  Form::pack_rows({t.dout, t.dout_row, h.group, h.v_dim}, row, end, h.v_padded, s.dout, s.dout_steps);
  if (t.dq) begin_query_gradients(h, t, row, end, all.begin >= chunk);
  for (int64_t slot = (seen.begin - chunk) / kKeyBlock; chunk + slot * kKeyBlock < seen.end; ++slot) {
    const Block block(h, t, row, chunk, slot);
    score_gradients<Form>(block);
    if (t.dk) add_key_gradients<Form>(block);
    if (t.dq) add_query_gradients<Form>(block);
  }
  for (int64_t i = row; i < end && t.dq; ++i) {
    copy_out(s.dq + (i - row) * t.qk_padded, 0, h.qk_dim, 1,
             t.dq + i / h.group * t.dq_row + i % h.group * h.qk_dim, 0);
  }
}

template <class Form>
static inline void add_gradients(const AttentionHead& h, AttentionGradTask t) {
  Form::arrange(t.scratch);
  for (int64_t chunk = t.key_begin; chunk < t.key_end; chunk += kGradKeys) {
    const Range keys = {chunk, smaller(chunk + kGradKeys, t.key_end)};
    const Range used = overlap(seen_by(h, t.row_begin, t.row_end - 1), keys);
    if (used.begin >= used.end && t.accumulate) continue;
    pack_keys<Form>(h, t, keys.begin, keys.end);
    if (t.dk) begin_key_gradients(h, t, keys.begin, keys.end);
    for (int64_t row = t.row_begin; row < t.row_end; row += kRowBlock) {
      const Range all = seen_by(h, row, smaller(row + kRowBlock, t.row_end) - 1);
      const Range seen = overlap(all, keys);
      if (seen.begin < seen.end) add_rows_block<Form>(h, t, row, chunk, seen, all);
    }
    if (!t.dk) continue;
    const AttentionGradScratch& s = t.scratch;
    copy_out(s.dk, t.qk_padded, h.qk_dim, keys.end - keys.begin, t.dk + chunk * h.k_row, h.k_row);
    copy_out(s.dv, h.v_padded, h.v_dim, keys.end - keys.begin, t.dv + chunk * h.v_row, h.v_row);
  }
}

}  // namespace

void attention_backward(const AttentionHead& h, const AttentionGradTask& t) {
  if (h.rounded) return add_gradients<PairGrad>(h, t);
  add_gradients<FloatGrad>(h, t);
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
