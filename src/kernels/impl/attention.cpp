// Forward attention of one kv head: for each chunk of keys, scores of a block of rows, their softmax, the
// weighted sum of values, merged into the rows' state. See attention.h for why chunks are fixed.
#include <math.h>

#include "kernels/impl/attention_forms.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// Block `slot` of the chunk at `chunk` covers these keys.
static inline Range keys_of_block(const AttentionHead& h, int64_t chunk, int64_t block) {
  const int64_t begin = chunk * kKeyChunk + block * kKeyBlock;
  return {begin, smaller(h.keys, begin + kKeyBlock)};
}

// Key blocks packed so far in the chunk, so that later row blocks find them.
struct Packed {
  int64_t chunk;
  bool shared;  // one slot for all blocks: nobody comes back for them
  uint32_t keys = 0, values = 0;
};

template <class Form>
static inline const float* packed_keys(const AttentionHead& h, const AttentionScratch& s, Packed& p,
                                       int64_t block) {
  float* slot = s.keys + (p.shared ? 0 : block) * Form::units(h.qk_dim) * kKeyBlock;
  if (p.shared || !(p.keys >> block & 1)) {
    const Range keys = keys_of_block(h, p.chunk, block);
    Form::pack_keys(
        {h, static_cast<const char*>(h.k) + keys.begin * h.k_bytes, keys.end - keys.begin, h.keys - keys.end},
        slot);
    p.keys |= 1u << block;
  }
  return slot;
}

template <class Form>
static inline Values packed_values(const AttentionHead& h, const AttentionScratch& s, Packed& p,
                                   int64_t block) {
  const Range keys = keys_of_block(h, p.chunk, block);
  const char* from = static_cast<const char*>(h.v) + keys.begin * h.v_bytes;
  if (Form::in_place(h)) return {reinterpret_cast<const float*>(from), h.v_row};
  float* slot = s.values + (p.shared ? 0 : block) * (kKeyBlock / Form::kKeysPerUnit) * h.v_padded;
  if (p.shared || !(p.values >> block & 1)) {
    Form::pack_values({h, from, keys.end - keys.begin, 0}, slot);
    p.values |= 1u << block;
  }
  return {slot, h.v_padded};
}

// A block of rows against one chunk; ranges of keys count from the chunk's first key.
struct Block {
  const AttentionHead& h;
  const AttentionScratch& s;
  int64_t first, rows, chunk_begin;

  int strip_rows(int64_t i) const { return static_cast<int>(smaller(kTileRows, rows - i)); }
  Range within_chunk(Range keys) const {
    return overlap({keys.begin - chunk_begin, keys.end - chunk_begin}, {0, kKeyChunk});
  }
  Range seen_by_strip(int64_t i) const {
    return within_chunk(seen_by(h, first + i, first + i + strip_rows(i) - 1));
  }
};

template <class Form>
static inline void score_block(const Block& b, int64_t block, const float* keys) {
  const int64_t depth = Form::units(b.h.qk_dim);
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    const Range columns = overlap(b.seen_by_strip(i), {block * kKeyBlock, (block + 1) * kKeyBlock});
    if (columns.begin >= columns.end) continue;
    const Range whole = whole_vectors(columns);
    strip<TileForm::assign, typename Form::Unit>(b.strip_rows(i), (whole.end - whole.begin) / kLanes, depth,
                                                 b.s.q + i * depth, depth,
                                                 keys + (whole.begin - block * kKeyBlock), kKeyBlock,
                                                 b.s.scores + i * kKeyChunk + whole.begin, kKeyChunk);
  }
}

// score_block for keys that stay where they are.
template <class Form>
static inline void score_squares(const Block& b, int64_t block, const float* queries) {
  const Range keys = keys_of_block(b.h, b.chunk_begin / kKeyChunk, block);
  const Stored stored{b.h, static_cast<const char*>(b.h.k) + keys.begin * b.h.k_bytes, keys.end - keys.begin,
                      b.h.keys - keys.end};
  const Range seen = overlap(b.within_chunk(seen_by(b.h, b.first, b.first + b.rows - 1)),
                             {block * kKeyBlock, (block + 1) * kKeyBlock});
  const int64_t stride = (b.rows + kLanes - 1) / kLanes * kLanes;
  for (int64_t j = whole_vectors(seen).begin; j < seen.end; j += kLanes) {
    for (int64_t i = 0; i < b.rows; i += kLanes) {
      Form::score_square(stored, j - block * kKeyBlock, queries + i, stride, b.rows - i,
                         b.s.scores + i * kKeyChunk + j);
    }
  }
}

template <class Form>
static inline void score_blocks(const Block& b, Packed& packed, Range blocks) {
  Form::pack_queries(b.h, b.first, b.first + b.rows, b.s.q);
  if constexpr (Form::kSquares) {
    if (packed.shared && Form::suits_squares(b.h, b.rows)) {
      const int64_t depth = Form::units(b.h.qk_dim);
      float* columns = Form::query_columns(b.s.q, b.rows, depth);
      Form::transpose_queries(b.s.q, b.rows, depth, columns);
      for (int64_t block = blocks.begin; block < blocks.end; ++block) score_squares<Form>(b, block, columns);
      return;
    }
  }
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    score_block<Form>(b, block, packed_keys<Form>(b.h, b.s, packed, block));
  }
}

template <class Form>
static inline void softmax_block(const Block& b, AttentionState to) {
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    const Range strip = b.seen_by_strip(i), whole = whole_vectors(strip);
    for (int64_t row = i; row < i + b.strip_rows(i); ++row) {
      if (strip.begin >= strip.end) {
        to.max[row] = -__builtin_inff(), to.sum[row] = 0;
        continue;
      }
      softmax_row(b.s.scores + row * kKeyChunk, whole, b.within_chunk(seen_by(b.h, b.first + row)), b.h.scale,
                  to.max + row, to.sum + row, Form::keep);
    }
  }
}

template <class Form>
static inline void weigh_values(const Block& b, int64_t block, Values values, float* out) {
  constexpr int64_t kKeys = Form::kKeysPerUnit, kUnits = kKeyBlock / kKeys;
  const int64_t vectors = b.h.v_padded / kLanes;
  for (int64_t j = 0; j < vectors;) {
    const int width = next_vectors(vectors - j);
    for (int64_t i = 0; i < b.rows; i += kTileRows) {
      const Range keys = overlap(b.seen_by_strip(i), {block * kKeyBlock, (block + 1) * kKeyBlock});
      if (keys.begin >= keys.end) continue;
      const Range units = {keys.begin / kKeys, (keys.end + kKeys - 1) / kKeys};
      kTiles<TileForm::add, typename Form::Unit>.of[b.strip_rows(i) - 1][width - 1](
          units.end - units.begin, b.s.scores + i * kKeyChunk + units.begin, kKeyChunk,
          values.from + (units.begin - block * kUnits) * values.stride + j * kLanes, values.stride,
          out + i * b.h.v_padded + j * kLanes, b.h.v_padded);
    }
    j += width;
  }
}

template <class Form>
static inline void add_chunk(const Block& b, Packed& packed, AttentionState state) {
  const Range seen = b.within_chunk(seen_by(b.h, b.first, b.first + b.rows - 1));
  if (seen.begin >= seen.end) return;
  const Range blocks = {seen.begin / kKeyBlock, (seen.end + kKeyBlock - 1) / kKeyBlock};
  score_blocks<Form>(b, packed, blocks);
  // Rows that have seen nothing yet take the chunk's result as it is: no merge.
  const bool direct = untouched(state, b.rows);
  const AttentionState to = direct ? state : b.s.part;
  if (!direct) {
    for (int64_t i = 0; i < b.rows * b.h.v_padded; i += kLanes) store(to.out + i, zero());
  }
  softmax_block<Form>(b, to);
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    weigh_values<Form>(b, block, packed_values<Form>(b.h, b.s, packed, block), to.out);
  }
  for (int64_t row = 0; row < b.rows && !direct; ++row) {
    merge_row(b.h.v_padded, state.max + row, state.sum + row, state.out + row * b.h.v_padded, to.max[row],
              to.sum[row], to.out + row * b.h.v_padded);
  }
}

template <class Form>
static inline void add_chunks(const AttentionHead& h, const AttentionTask& task) {
  const bool one_block = task.row_end - task.row_begin <= kRowBlock;
  for (int64_t chunk = task.chunk_begin; chunk < task.chunk_end; ++chunk) {
    Packed packed{.chunk = chunk, .shared = one_block};
    for (int64_t row = task.row_begin; row < task.row_end; row += kRowBlock) {
      const Block block = {h, task.scratch, row, smaller(kRowBlock, task.row_end - row), chunk * kKeyChunk};
      add_chunk<Form>(block, packed, state_at(task.state, row - task.row_begin, h.v_padded));
    }
  }
}

}  // namespace

void attention_forward(const AttentionHead& h, const AttentionTask& task) {
  if (h.rounded) return add_chunks<PairForm>(h, task);
  add_chunks<FloatForm>(h, task);
}

void attention_merge(int64_t rows, int64_t v_padded, const AttentionState& from, const AttentionState& to) {
  for (int64_t row = 0; row < rows; ++row) {
    merge_row(v_padded, to.max + row, to.sum + row, to.out + row * v_padded, from.max[row], from.sum[row],
              from.out + row * v_padded);
  }
}

void attention_finish(const AttentionHead& h, int64_t begin, int64_t end, const AttentionState& state,
                      const AttentionOutput& to) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t query = row / h.group, head = row % h.group;
    float top = state.max[row - begin], sum = state.sum[row - begin], factor = 0;
    const float* from = state.out + (row - begin) * h.v_padded;
    float* out = to.out + query * to.out_row + head * h.v_dim;
    if (to.sinks) {
      const float before = top, sink = to.sinks[head];
      top = before > sink ? before : sink;
      factor = exp_of(before - top);  // 0 for a row without keys
      sum = sum * factor + exp_of(sink - top);
      factor = factor / sum;
    } else if (sum > 0) {
      factor = 1.0f / sum;
    } else if (sum != sum) {
      factor = sum;  // NaN stays NaN
    }
    for_vectors(h.v_dim, [&](int64_t i, auto part) { put(out + i, get(from + i, part) * factor, part); });
    if (to.lse) to.lse[query * to.lse_row + head] = sum == 0 ? -__builtin_inff() : top + logf(sum);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
