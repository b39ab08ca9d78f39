// Scheduling of the forward: units of (sequence, kv head, rows) that walk all their chunks of keys, or, when
// there are too few of them to fill the threads (decode), one item per chunk whose results are merged in
// order afterwards.
#include <algorithm>
#include <limits>

#include "core/error.h"
#include "kernels/attention_plan.h"

namespace frugal::kernels {
namespace {

constexpr int64_t kMaxUnitFloats = 1 << 16;   // of a unit's state, to keep it in a core's cache
constexpr int64_t kMaxSplitFloats = 1 << 22;  // of the states of all chunks, where splitting is a choice
constexpr int64_t kMergeRows = 8;             // rows that one thread merges at a time

struct Unit {
  AttentionHead head;
  AttentionOutput output;
  int64_t row_begin, row_end, chunk_begin, chunk_end;
  double work;
  int64_t span;       // which of the call's
  int64_t state = 0;  // split units: floats into the memory of states, chunk after chunk

  int64_t rows() const { return row_end - row_begin; }
  int64_t chunks() const { return chunk_end - chunk_begin; }
  int64_t state_floats() const { return rows() * head.v_padded + 2 * padded(rows()); }
};

// The i-th state of a unit inside its memory.
AttentionState state_of(const Unit& unit, float* memory, int64_t i) {
  float* start = memory + i * unit.state_floats();
  float* max = start + unit.rows() * unit.head.v_padded;
  return {max, max + padded(unit.rows()), start};
}

int64_t split_floats(const std::vector<Unit>& units) {
  int64_t floats = 0;
  for (const Unit& unit : units) floats += unit.chunks() * unit.state_floats();
  return floats;
}

void reset(const AttentionState& state, int64_t rows, int64_t v_padded) {
  std::fill_n(state.max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(state.sum, rows, 0.0f);
  std::fill_n(state.out, rows * v_padded, 0.0f);
}

std::vector<Unit> make_units(const Attention& a, float* out, int64_t out_row, float* lse, int threads) {
  const int64_t group = a.heads / a.kv_heads;
  double total = 0;
  for (const AttentionSpan& span : a.spans) {
    const AttentionHead head = attention_head(a, span, 0);
    total += static_cast<double>(a.kv_heads) * attention_work(head, 0, head.queries * group);
  }
  const double wanted = total / (4.0 * threads);  // per unit, so that threads finish together
  std::vector<Unit> units;
  for (size_t s = 0; s < a.spans.size(); ++s) {
    const AttentionSpan& span = a.spans[s];
    for (int64_t g = 0; g < a.kv_heads; ++g) {
      const AttentionHead head = attention_head(a, span, g);
      const int64_t rows = head.queries * group;
      const AttentionOutput output = {.sinks = a.sinks ? a.sinks + g * group : nullptr,
                                      .out = out + span.query_begin * out_row + g * group * a.v_dim,
                                      .out_row = out_row,
                                      .lse = lse ? lse + span.query_begin * a.heads + g * group : nullptr,
                                      .lse_row = a.heads};
      const double work = attention_work(head, 0, rows);
      const int64_t pieces = threads == 1 || work <= wanted ? 1 : static_cast<int64_t>(work / wanted + 1);
      int64_t step =
          std::min((rows + pieces - 1) / pieces, std::max<int64_t>(1, kMaxUnitFloats / head.v_padded));
      step = std::max<int64_t>(1, (step + kRowBlock - 1) / kRowBlock) * kRowBlock;
      for (int64_t row = 0; row < rows; row += step) {
        const int64_t end = std::min(rows, row + step);
        const KeyRange keys = keys_seen(head, row, end);
        units.push_back({head, output, row, end, keys.begin / kKeyChunk,
                         (keys.end + kKeyChunk - 1) / kKeyChunk, attention_work(head, row, end),
                         static_cast<int64_t>(s)});
      }
    }
  }
  std::stable_sort(units.begin(), units.end(), [](const Unit& x, const Unit& y) { return x.work > y.work; });
  return units;
}

AttentionScratch carve_scratch(Carver& carver, const AttentionHead& head) {
  const int64_t blocks = kKeyChunk / kKeyBlock;
  AttentionScratch scratch{};
  scratch.q = carver.take(kRowBlock * head.qk_dim);
  scratch.scores = carver.take(kRowBlock * kKeyChunk);
  scratch.keys = carver.take(blocks * head.qk_dim * kKeyBlock);
  scratch.values = carver.take(blocks * kKeyBlock * head.v_padded);
  scratch.part = {carver.take(kRowBlock), carver.take(kRowBlock), carver.take(kRowBlock * head.v_padded)};
  return scratch;
}

void add_keys(const Table& table, const AttentionHead& head, const AttentionTask& task) {
  (head.stream ? table.attention_stream : table.attention_forward)(head, task);
}

// Every unit is one item; its state lives in the worker's scratch.
void run_whole(ThreadPool& pool, const Table& table, const std::vector<Unit>& units) {
  int64_t state_floats = 0;
  for (const Unit& unit : units) state_floats = std::max(state_floats, unit.state_floats());
  pool.parallel_for(static_cast<int64_t>(units.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    Carver sizes;
    carve_scratch(sizes, units[0].head);
    const int64_t floats = sizes.taken() + state_floats;
    Carver carver(pool.scratch(worker, sizeof(float) * static_cast<size_t>(floats)));
    const AttentionScratch scratch = carve_scratch(carver, units[0].head);
    float* memory = carver.take(state_floats);
    for (int64_t i = begin; i < end; ++i) {
      const Unit& unit = units[static_cast<size_t>(i)];
      const AttentionState state = state_of(unit, memory, 0);
      reset(state, unit.rows(), unit.head.v_padded);
      add_keys(table, unit.head,
               {unit.row_begin, unit.row_end, unit.chunk_begin, unit.chunk_end, state, scratch});
      table.attention_finish(unit.head, unit.row_begin, unit.row_end, state, unit.output);
    }
  });
}

// The memory of a sequence's keys and values, in whole chunks: the same for many tokens on end.
void add_reads(const Unit& unit, std::vector<MemorySpan>& reads) {
  const AttentionHead& h = unit.head;
  const int64_t keys = unit.chunks() * kKeyChunk;
  const auto add = [&](const void* from, int64_t bytes) {
    reads.push_back({static_cast<const std::byte*>(from) + unit.chunk_begin * kKeyChunk * bytes,
                     static_cast<size_t>(keys * bytes)});
  };
  add(h.k, h.k_bytes);
  if (h.v != h.k) add(h.v, h.v_bytes);
}

// Every chunk of a unit is an item with a state of its own; then rows merge theirs in the order of chunks.
void run_split(ThreadPool& pool, const Table& table, std::vector<Unit>& units) {
  struct Item {
    const Unit* unit;
    int64_t index;  // of the chunk in the unit, or the first row to merge
  };
  std::vector<Item> chunks, merges;
  int64_t floats = 0;
  for (Unit& unit : units) {
    unit.state = floats;
    floats += unit.chunks() * unit.state_floats();
    for (int64_t i = 0; i < unit.chunks(); ++i) chunks.push_back({&unit, i});
    for (int64_t i = 0; i < unit.rows(); i += kMergeRows) merges.push_back({&unit, i});
  }
  // The heads of a key lie beside each other: whoever takes a chunk of one takes the chunk of all.
  std::stable_sort(chunks.begin(), chunks.end(), [](const Item& x, const Item& y) {
    return x.unit->span != y.unit->span ? x.unit->span < y.unit->span : x.index < y.index;
  });
  std::vector<MemorySpan> reads;
  for (const Unit& unit : units) {
    if (&unit == units.data() || unit.span != (&unit)[-1].span) add_reads(unit, reads);
  }
  Carver sizes;
  carve_scratch(sizes, units[0].head);
  const int64_t each = sizes.taken();
  auto* memory = static_cast<float*>(
      pool.scratch(pool.this_worker(), sizeof(float) * static_cast<size_t>(floats + each * pool.size())));
  pool.parallel_runs(std::ssize(chunks), reads, [&](int64_t begin, int64_t end, int worker) {
    Carver carver(memory + floats + each * worker);
    const AttentionScratch scratch = carve_scratch(carver, units[0].head);
    for (int64_t i = begin; i < end; ++i) {
      const auto& [unit, chunk] = chunks[static_cast<size_t>(i)];
      const AttentionState state = state_of(*unit, memory + unit->state, chunk);
      reset(state, unit->rows(), unit->head.v_padded);
      add_keys(table, unit->head,
               {unit->row_begin, unit->row_end, unit->chunk_begin + chunk, unit->chunk_begin + chunk + 1,
                state, scratch});
    }
  });
  pool.parallel_for(static_cast<int64_t>(merges.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [unit, row] = merges[static_cast<size_t>(i)];
      const int64_t rows = std::min(kMergeRows, unit->rows() - row), width = unit->head.v_padded;
      const auto rows_of = [&](int64_t chunk) -> AttentionState {
        const AttentionState state = state_of(*unit, memory + unit->state, chunk);
        return {state.max + row, state.sum + row, state.out + row * width};
      };
      const AttentionState state = rows_of(0);
      for (int64_t chunk = 1; chunk < unit->chunks(); ++chunk) {
        table.attention_merge(rows, width, rows_of(chunk), state);
      }
      table.attention_finish(unit->head, unit->row_begin + row, unit->row_begin + row + rows, state,
                             unit->output);
    }
  });
}

}  // namespace

void attention_forward(ThreadPool& pool, const Table& table, const Attention& args, float* out,
                       int64_t out_row, float* lse) {
  check_attention(args);
  CHECK(out_row >= args.heads * args.v_dim, "rows of {} floats for {} heads of {}", out_row, args.heads,
        args.v_dim);
  std::vector<Unit> units = make_units(args, out, out_row, lse, pool.size());
  if (units.empty()) return;
  // A unit without chunks (no keys) is finished from its empty state, which only whole units have.
  const auto splits = [](const Unit& unit) { return unit.chunks() > 0; };
  const bool few = static_cast<int>(units.size()) < 2 * pool.size();
  const bool long_units =
      std::any_of(units.begin(), units.end(), [](const Unit& u) { return u.chunks() > 1; });
  // Streaming heads one after the other would read every page of the cache once for each.
  const auto streams = [](const Unit& unit) { return unit.head.stream; };
  const bool together = args.kv_heads > 1 && split_floats(units) <= kMaxSplitFloats &&
                        std::all_of(units.begin(), units.end(), streams);
  if (((pool.size() > 1 && few) || together) && long_units &&
      std::all_of(units.begin(), units.end(), splits)) {
    run_split(pool, table, units);
  } else {
    run_whole(pool, table, units);
  }
}

}  // namespace frugal::kernels
