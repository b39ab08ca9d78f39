// Shares grouped products over threads. In waves, so that packed memory stays bounded: all threads pack B's
// panels of the wave, then take tasks (a block of rows times some columns, all of the wave's k), packing A's
// rows for themselves. Tasks get smaller towards the end of a wave, so that threads finish together even when
// one is slow.
#include "kernels/gemm.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "core/error.h"

namespace frugal::kernels {
namespace {

constexpr int64_t kWaveFloats = int64_t{2} << 20;  // packed B of one wave
constexpr int64_t kWidePanels = 32;                // of B that a packed block of A meets, where C has as many
constexpr int64_t kBlockRows = 112;  // of A in one task: about half of a 512 KB second-level cache
constexpr int64_t kKStep = 32;       // pieces of k start at multiples of this

int64_t round_up(int64_t x, int64_t step) {
  return (x + step - 1) / step * step;
}

int64_t block_panels(const Table& table) {
  return kBlockRows / table.gemm_rows;
}

// Columns [begin, end) and k's [k_begin, k_end) of one problem, packed together at `packed` floats into the
// wave's memory.
struct Slice {
  const Gemm* problem;
  int64_t begin, end, k_begin, k_end, packed;
  bool shared = false;  // packed by a slice before it, whose B is the same
  int64_t columns() const { return end - begin; }
  int64_t depth() const { return k_end - k_begin; }
  int64_t panels(const Table& table) const {
    return (columns() + table.gemm_columns - 1) / table.gemm_columns;
  }
  int64_t panel_floats(const Table& table) const { return round_up(depth(), 2) * table.gemm_columns; }
  int64_t work(int64_t rows) const { return rows * columns() * depth(); }
  bool same_b(const Slice& other) const {
    const Gemm &p = *problem, &q = *other.problem;
    return p.b == q.b && p.b_type == q.b_type && p.b_row == q.b_row && p.b_col == q.b_col &&
           begin == other.begin && end == other.end && k_begin == other.k_begin && k_end == other.k_end;
  }
};

struct Wave {
  std::vector<Slice> slices;
  int64_t floats = 0;  // packed
};

struct Task {
  const Slice* slice;
  int64_t row, rows, column, columns;
};

void check(const Gemm& p) {
  CHECK(p.m >= 0 && p.n >= 0 && p.k >= 0, "gemm: {} x {} x {}", p.m, p.n, p.k);
  CHECK(p.a_row == 1 || p.a_col == 1, "gemm: strides of A are {} and {}: one must be 1", p.a_row, p.a_col);
  CHECK(p.b_row == 1 || p.b_col == 1, "gemm: strides of B are {} and {}: one must be 1", p.b_row, p.b_col);
  CHECK(p.c_row >= p.n || p.m <= 1, "gemm: rows of C are {} apart, shorter than {} columns", p.c_row, p.n);
}

const void* element(const Gemm& p, int64_t row, int64_t col) {
  const int64_t at = row * p.b_row + col * p.b_col;
  if (p.b_type == Element::bf16) return static_cast<const uint16_t*>(p.b) + at;
  return static_cast<const float*>(p.b) + at;
}

// A product without an inner dimension is zero.
void clear(const Gemm& p) {
  for (int64_t i = 0; i < p.m && !p.accumulate; ++i) std::fill_n(p.c + i * p.c_row, p.n, 0.0f);
}

// Length of the pieces of k, each of which is added to C as one sum.
int64_t piece_of_k(int64_t k) {
  const int64_t pieces = (k + kGemmMaxK - 1) / kGemmMaxK;
  return round_up((k + pieces - 1) / pieces, kKStep);
}

// How much of k a wave takes: all of it, or for a long k so many pieces that the wave is wide enough for A to
// be packed few times.
int64_t depth_of_wave(const Table& table, const Gemm& p) {
  const int64_t piece = piece_of_k(p.k), pieces = (p.k + piece - 1) / piece;
  const int64_t columns = std::min(round_up(p.n, table.gemm_columns), kWidePanels * table.gemm_columns);
  const int64_t fit = std::max<int64_t>(1, kWaveFloats / (piece * columns));
  const int64_t waves = (pieces + fit - 1) / fit;
  return (pieces + waves - 1) / waves * piece;
}

// Puts slices into waves, at least one panel of B into each.
class Waves {
 public:
  explicit Waves(const Table& table) : table_(table) {}

  void add(const Gemm& p) {
    const int64_t depth = depth_of_wave(table_, p);
    for (int64_t k = 0; k < p.k; k += depth) {
      if (k > 0) begin_wave();  // C has to have what comes before
      add(p, k, std::min(p.k, k + depth));
    }
  }
  std::vector<Wave> take() { return std::move(waves_); }

 private:
  void begin_wave() { waves_.emplace_back(); }
  // The gradients of weights that have their input in common come one after the other.
  bool share(Slice slice) {
    for (const Slice& before : waves_.back().slices) {
      if (!slice.same_b(before)) continue;
      slice.packed = before.packed;
      slice.shared = true;
      waves_.back().slices.push_back(slice);
      return true;
    }
    return false;
  }
  void add(const Gemm& p, int64_t k_begin, int64_t k_end) {
    if (share({&p, 0, p.n, k_begin, k_end, 0})) return;
    for (int64_t column = 0; column < p.n;) {
      const int64_t used = waves_.back().floats;
      Slice slice{&p, column, p.n, k_begin, k_end, used};
      const int64_t panel = slice.panel_floats(table_);
      const int64_t panels =
          used == 0 ? std::max<int64_t>(1, kWaveFloats / panel) : (kWaveFloats - used) / panel;
      if (panels <= 0) {
        begin_wave();
        continue;
      }
      slice.end = std::min(p.n, column + panels * table_.gemm_columns);
      waves_.back().slices.push_back(slice);
      waves_.back().floats += slice.panels(table_) * panel;
      column = slice.end;
    }
  }

  const Table& table_;
  std::vector<Wave> waves_ = std::vector<Wave>(1);
};

std::vector<Wave> cut_into_waves(const Table& table, std::span<const Gemm> problems) {
  Waves waves(table);
  for (const Gemm& p : problems) {
    check(p);
    if (p.m == 0 || p.n == 0) continue;
    p.k == 0 ? clear(p) : waves.add(p);
  }
  return waves.take();
}

// Tasks of decreasing size. Only speed depends on the cuts, results do not.
std::vector<Task> cut_into_tasks(const Table& table, const Wave& wave, int threads) {
  int64_t left = 0;
  for (const Slice& slice : wave.slices) left += slice.work(slice.problem->m);
  const int64_t coarse = std::max<int64_t>(1, left / (8 * threads));
  std::vector<Task> tasks;
  for (const Slice& slice : wave.slices) {
    // A slice of few rows and many columns is cut by columns too.
    const int64_t rows = slice.problem->m, panel_work = slice.work(std::min<int64_t>(rows, table.gemm_rows));
    int64_t width = slice.columns();
    if (panel_work > coarse) {
      width = std::max<int64_t>(4 * table.gemm_columns,
                                round_up(width * coarse / panel_work, table.gemm_columns));
    }
    for (int64_t row = 0; row < rows;) {
      const int64_t want =
          std::min(left / (3 * threads), slice.work(rows)) / std::max<int64_t>(1, panel_work);
      const int64_t here =
          std::min(rows - row, std::clamp<int64_t>(want, 1, block_panels(table)) * table.gemm_rows);
      for (int64_t column = slice.begin; column < slice.end; column += width) {
        tasks.push_back({&slice, row, here, column, std::min(width, slice.end - column)});
      }
      left -= slice.work(here);
      row += here;
    }
  }
  return tasks;
}

void pack_wave(ThreadPool& pool, const Table& table, const Wave& wave, Precision precision, float* to) {
  struct Panel {
    const Slice* slice;
    int64_t column;
  };
  std::vector<Panel> panels;
  for (const Slice& slice : wave.slices) {
    for (int64_t column = slice.begin; column < slice.end && !slice.shared; column += table.gemm_columns) {
      panels.push_back({&slice, column});
    }
  }
  pool.parallel_for(static_cast<int64_t>(panels.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (const Panel& panel : std::span(panels).subspan(begin, end - begin)) {
      const Slice& slice = *panel.slice;
      const Gemm& p = *slice.problem;
      const int64_t index = (panel.column - slice.begin) / table.gemm_columns;
      table.gemm_pack_b(precision, slice.depth(),
                        std::min<int64_t>(table.gemm_columns, slice.end - panel.column), p.b_type,
                        element(p, slice.k_begin, panel.column), p.b_row, p.b_col,
                        to + slice.packed + index * slice.panel_floats(table));
    }
  });
}

// A's rows of a task for k in [k, k + depth), as they lie in memory.
GemmAhead part_of_a(const Task& task, int64_t k, int64_t depth) {
  constexpr int64_t kLine = 64;
  const Gemm& p = *task.slice->problem;
  const bool by_rows = p.a_col == 1;
  const int64_t rows = by_rows ? task.rows : depth, bytes = 4 * (by_rows ? depth : task.rows);
  return {.from = p.a + task.row * p.a_row + k * p.a_col,
          .rows = rows,
          .row_bytes = 4 * (by_rows ? p.a_row : p.a_col),
          .lines = (bytes + kLine - 1) / kLine};
}

// `next` is what this thread does after it, or null.
void run_task(const Table& table, const Task& task, const Task* next, Precision precision,
              const float* packed_b, float* packed_a) {
  const Slice& slice = *task.slice;
  const Gemm& p = *slice.problem;
  const int64_t panel = slice.panel_floats(table), piece = piece_of_k(p.k);
  GemmBlock block{.precision = precision,
                  .rows = task.rows,
                  .columns = task.columns,
                  .k_begin = 0,
                  .k_end = 0,
                  .a_by_rows = p.a_col == 1,
                  .a = packed_a,
                  .b = packed_b + slice.packed + (task.column - slice.begin) / table.gemm_columns * panel,
                  .b_panel = panel,
                  .c = p.c + task.row * p.c_row + task.column,
                  .c_row = p.c_row,
                  .accumulate = p.accumulate || slice.k_begin > 0,
                  .ahead = {}};
  for (int64_t k = slice.k_begin; k < slice.k_end; k += piece) {
    const int64_t end = std::min(slice.k_end, k + piece);
    block.k_begin = k - slice.k_begin;
    block.k_end = end - slice.k_begin;
    table.gemm_pack_a(precision, task.rows, end - k, p.a + task.row * p.a_row + k * p.a_col, p.a_row, p.a_col,
                      packed_a);
    if (end < slice.k_end) {
      block.ahead = part_of_a(task, end, std::min(slice.k_end - end, piece));
    } else if (next != nullptr) {
      const Slice& after = *next->slice;
      block.ahead = part_of_a(*next, after.k_begin, std::min(after.depth(), piece_of_k(after.problem->k)));
    } else {
      block.ahead = {};
    }
    table.gemm_block(block);
    block.accumulate = true;
  }
}

}  // namespace

void gemm(ThreadPool& pool, const Table& table, std::span<const Gemm> problems, Precision precision) {
  const int64_t a_floats = round_up(table.gemm_packed_a(block_panels(table) * table.gemm_rows), 16);
  const int caller = pool.this_worker();  // whose scratch holds the wave's packed B behind its own A
  for (const Wave& wave : cut_into_waves(table, problems)) {
    if (wave.slices.empty()) continue;
    const size_t bytes = static_cast<size_t>(a_floats + wave.floats) * sizeof(float);
    float* const own = static_cast<float*>(pool.scratch(caller, bytes));
    float* const packed_b = own + a_floats;
    pack_wave(pool, table, wave, precision, packed_b);
    const std::vector<Task> tasks = cut_into_tasks(table, wave, pool.size());
    // A thread takes its next task before it does the one it has, so that it knows what it will read.
    std::atomic<size_t> taken{0};
    pool.parallel_for(pool.size(), 1, [&](int64_t, int64_t, int worker) {
      float* packed_a = own;
      if (worker != caller) {
        packed_a = static_cast<float*>(pool.scratch(worker, static_cast<size_t>(a_floats) * sizeof(float)));
      }
      const auto take = [&] {
        const size_t i = taken.fetch_add(1, std::memory_order_relaxed);
        return i < tasks.size() ? &tasks[i] : nullptr;
      };
      const Task* next = nullptr;
      for (const Task* task = take(); task != nullptr; task = next) {
        next = take();
        run_task(table, *task, next, precision, packed_b, packed_a);
      }
    });
  }
}

}  // namespace frugal::kernels
