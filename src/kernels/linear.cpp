#include "kernels/linear.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace frugal::kernels {
namespace {

// A task is a block of outputs: at most this many rows (a multiple of every tile's rows, which are 3 or 6)...
constexpr int64_t kTaskRows = 96;
// ...and outputs that cost about this many multiply-adds, so that a thread that is late does not hold up the
// others.
constexpr int64_t kTaskWork = 1 << 18;
constexpr int64_t kTaskOuts = 16;  // at least

struct Task {
  const LinearProblem* problem;
  int64_t row, row_end, out, out_end;
};

void check(const LinearProblem& p) {
  CHECK(p.rows >= 0 && p.in >= 0 && p.out >= 0, "linear: {} x {} -> {}", p.rows, p.in, p.out);
  CHECK(p.rows <= 1 || p.x_row >= p.in, "linear: rows of x are {} apart, shorter than {}", p.x_row, p.in);
  CHECK(p.out <= 1 || p.w_row >= p.in, "linear: rows of W are {} apart, shorter than {}", p.w_row, p.in);
  CHECK(p.rows <= 1 || p.y_row >= p.out, "linear: rows of y are {} apart, shorter than {}", p.y_row, p.out);
}

std::vector<Task> cut_into_tasks(std::span<const LinearProblem> problems, int threads) {
  int64_t work = 0;
  for (const LinearProblem& p : problems) work += p.rows * p.in * p.out;
  const int64_t task_work = std::clamp<int64_t>(work / (16 * threads), 1, 16 * kTaskWork);
  std::vector<Task> tasks;
  for (const LinearProblem& p : problems) {
    check(p);
    if (p.rows == 0) continue;
    const int64_t rows = std::min(p.rows, kTaskRows);
    const int64_t wanted = std::max(task_work, kTaskWork) / std::max<int64_t>(1, rows * p.in);
    const int64_t outs = std::max(kTaskOuts, wanted / kTaskOuts * kTaskOuts);
    for (int64_t out = 0; out < p.out; out += outs) {
      for (int64_t row = 0; row < p.rows; row += rows) {
        tasks.push_back({&p, row, std::min(p.rows, row + rows), out, std::min(p.out, out + outs)});
      }
    }
  }
  return tasks;
}

}  // namespace

void linear(ThreadPool& pool, const Table& table, std::span<const LinearProblem> problems) {
  const std::vector<Task> tasks = cut_into_tasks(problems, pool.size());
  pool.parallel_for(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (const Task& task :
         std::span(tasks).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))) {
      table.linear_dot(*task.problem, task.row, task.row_end, task.out, task.out_end);
    }
  });
}

}  // namespace frugal::kernels
