#include "kernels/quant_linear.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "kernels/read_through.h"

namespace frugal::kernels {
namespace {

// A task does at least so much, about 5 us: unpacking a weight costs about as much as eight products.
constexpr int64_t kTaskWork = 1 << 19, kUnpackWork = 8;
// Threads beyond what the rows of W feed share rows of x, but not fewer than these.
constexpr int64_t kTaskPanels = 8;
constexpr int64_t kTasksPerThread = 6;
// So few rows of x cost less than reading W.
constexpr int64_t kFewRows = 8;

struct Task {
  const QuantLinear* problem;
  int64_t begin, end;        // of W
  int64_t panel, panel_end;  // of x
  const void* next = nullptr;
};

int64_t panels_of(const Table& table, int64_t rows) {
  return (rows + table.quant_columns - 1) / table.quant_columns;
}

void check(const QuantLinear& p) {
  CHECK(p.format != Blocks::none && p.x != nullptr);
  CHECK(p.x->form.halves || !needs_halves(p.format), "activations without sums of 16");
  CHECK(p.x->rows <= 1 || p.y_row >= p.out, "rows of y are {} apart, shorter than {}", p.y_row, p.out);
}

// Tasks of about equal size, whole tiles of W each. Only speed depends on the cuts.
std::vector<Task> cut_into_tasks(const Table& table, std::span<const QuantLinear> problems, int threads) {
  int64_t total = 0;
  for (const QuantLinear& p : problems) {
    check(p);
    total += p.out * p.x->in * (p.x->rows > 0 ? p.x->rows + kUnpackWork : 0);
  }
  const int64_t work = std::max(kTaskWork, total / (kTasksPerThread * threads));
  std::vector<Task> tasks;
  for (const QuantLinear& p : problems) {
    if (p.x->rows == 0 || p.out == 0) continue;
    const int64_t tile_work = table.lanes * std::max<int64_t>(1, p.x->in) * (p.x->rows + kUnpackWork);
    const int64_t step = std::max<int64_t>(1, work / tile_work) * table.lanes;
    const int64_t panels = panels_of(table, p.x->rows);
    const int64_t cuts = std::clamp<int64_t>(tile_work / work, 1, (panels + kTaskPanels - 1) / kTaskPanels);
    for (int64_t cut = 0; cut < cuts; ++cut) {
      const int64_t first = panels * cut / cuts, last = panels * (cut + 1) / cuts;
      for (int64_t begin = 0; begin < p.out; begin += step)
        tasks.push_back({&p, begin, std::min(p.out, begin + step), first, last});
    }
  }
  return tasks;
}

void run_task(const Table& table, const Task& task, void* scratch) {
  const QuantLinear& p = *task.problem;
  const int64_t row = task.panel * table.quant_columns;
  table.quant_dot({.format = p.format,
                   .w = p.w,
                   .w_row = p.w_row,
                   .in = p.x->in,
                   .begin = task.begin,
                   .end = task.end,
                   .x = p.x->words + row * (p.x->in / kQuantBlock) * panel_words(p.x->form),
                   .rows = std::min(p.x->rows, task.panel_end * table.quant_columns) - row,
                   .form = p.x->form,
                   .y = p.y + row * p.y_row,
                   .y_row = p.y_row,
                   .next = task.next},
                  scratch);
}

void multiply_few(ThreadPool& pool, const Table& table, std::span<const QuantLinear> problems) {
  std::vector<MatrixToRead> matrices;
  for (const QuantLinear& p : problems) {
    check(p);
    matrices.push_back({p.w, p.w_row, p.x->rows > 0 ? p.out : 0, table.lanes});
  }
  read_through(pool, matrices, [&](size_t i, int64_t begin, int64_t end, int worker) {
    const QuantLinear& p = problems[i];
    const void* next = end == p.out && i + 1 < problems.size() ? problems[i + 1].w : nullptr;
    run_task(table, {&p, begin, end, 0, panels_of(table, p.x->rows), next},
             pool.scratch(worker, kQuantScratch));
  });
}

}  // namespace

int64_t quantized_bytes(const Table& table, const QuantizeRows& request) {
  return panels_of(table, request.rows) * table.quant_columns * (request.in / kQuantBlock) *
         panel_words(request.form) * static_cast<int64_t>(sizeof(int32_t));
}

std::vector<QuantizedRows> quantize(ThreadPool& pool, const Table& table,
                                    std::span<const QuantizeRows> requests, void* memory) {
  constexpr int64_t kSerial = 1 << 14;  // values that one thread rounds before another has woken up
  struct Panel {
    const QuantizeRows* rows;
    int64_t row;
    int32_t* to;
  };
  std::vector<QuantizedRows> out;
  std::vector<Panel> panels;
  auto* words = static_cast<int32_t*>(memory);
  int64_t values = 0;
  for (const QuantizeRows& r : requests) {
    CHECK(r.in % kQuantBlock == 0, "rows of {} in blocks of {}", r.in, kQuantBlock);
    out.push_back({&table, r.rows, r.in, r.form, words});
    for (int64_t row = 0; row < r.rows; row += table.quant_columns)
      panels.push_back({&r, row, words + row * (r.in / kQuantBlock) * panel_words(r.form)});
    words += quantized_bytes(table, r) / static_cast<int64_t>(sizeof(int32_t));
    values += r.rows * r.in;
  }
  const int64_t count = std::ssize(panels);
  pool.parallel_for(
      count, values <= kSerial ? std::max<int64_t>(1, count) : 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const auto& [rows, row, to] = panels[static_cast<size_t>(i)];
          const int64_t x_row = rows->x_row == 0 ? rows->in : rows->x_row;
          table.quantize_rows(
              {.columns = static_cast<int>(std::min<int64_t>(table.quant_columns, rows->rows - row)),
               .in = rows->in,
               .x = rows->index ? rows->x : rows->x + row * x_row,
               .x_row = x_row,
               .index = rows->index ? rows->index + row : nullptr,
               .form = rows->form,
               .to = to});
        }
      });
  return out;
}

void quant_linear(ThreadPool& pool, const Table& table, std::span<const QuantLinear> problems) {
  const auto few = [](const QuantLinear& p) { return p.x == nullptr || p.x->rows <= kFewRows; };
  for (const QuantLinear& p : problems)
    CHECK(p.x == nullptr || p.x->table == &table, "rows of another table");
  if (std::ranges::all_of(problems, few)) return multiply_few(pool, table, problems);
  const std::vector<Task> tasks = cut_into_tasks(table, problems, pool.size());
  pool.parallel_for(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    void* scratch = pool.scratch(worker, kQuantScratch);
    for (int64_t i = begin; i < end; ++i) run_task(table, tasks[static_cast<size_t>(i)], scratch);
  });
}

}  // namespace frugal::kernels
