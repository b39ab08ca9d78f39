#include "kernels/linear.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "kernels/read_through.h"

namespace frugal::kernels {
namespace {

// A task does at least this many multiply-adds, about 5 us, where there are that many.
constexpr int64_t kTaskWork = 1 << 15;
constexpr int64_t kTaskOuts = 16;
constexpr int64_t kFewRows = 6;    // read W once, and cost no more than that
constexpr int64_t kTaskRows = 24;  // and a multiple of it: of every tile's rows, which are 3 or 6

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

int64_t round_down(int64_t x, int64_t step) {
  return x / step * step;
}

// Tasks of decreasing size, so that threads finish together even when one is slow. Only speed depends on the
// cuts.
std::vector<Task> cut_into_tasks(std::span<const LinearProblem> problems, int threads) {
  int64_t left = 0;
  for (const LinearProblem& p : problems) left += p.rows * p.in * p.out;
  std::vector<Task> tasks;
  for (const LinearProblem& p : problems) {
    check(p);
    const int64_t in = std::max<int64_t>(1, p.in);
    const int64_t fit = round_down(kLinearScratch / std::clamp(in, kTaskOuts, kLinearPiece), kTaskOuts);
    for (int64_t out = 0; out < p.out && p.rows > 0;) {
      const int64_t work = std::max(kTaskWork, left / (threads > 1 ? 4 * threads : 1));
      const int64_t few = std::min(p.rows, kTaskRows);
      const int64_t outs = std::clamp(round_down(work / (few * in), kTaskOuts), kTaskOuts, fit);
      const int64_t out_end = std::min(p.out, out + outs);
      for (int64_t row = 0; row < p.rows;) {
        const int64_t want =
            std::max(kTaskWork, left / (threads > 1 ? 4 * threads : 1)) / ((out_end - out) * in);
        const int64_t rows = std::clamp(round_down(want, kTaskRows), kTaskRows, 32 * kTaskRows);
        tasks.push_back({&p, row, std::min(p.rows, row + rows), out, out_end});
        left -= (tasks.back().row_end - row) * (out_end - out) * p.in;
        row += rows;
      }
      out = out_end;
    }
  }
  return tasks;
}

void linear_few(ThreadPool& pool, const Table& table, std::span<const LinearProblem> problems) {
  std::vector<MatrixToRead> matrices;
  for (const LinearProblem& p : problems) {
    check(p);
    const int64_t bytes = p.w_type == Element::f32 ? sizeof(float) : sizeof(uint16_t);
    matrices.push_back({p.w, p.w_row * bytes, p.rows > 0 ? p.out : 0, kTaskOuts});
  }
  read_through(pool, matrices, [&](size_t i, int64_t begin, int64_t end, int worker) {
    auto* scratch = static_cast<float*>(pool.scratch(worker, kLinearScratch * sizeof(float)));
    table.linear_dot(problems[i], 0, problems[i].rows, begin, end, scratch);
  });
}

}  // namespace

void linear(ThreadPool& pool, const Table& table, std::span<const LinearProblem> problems) {
  const auto few = [](const LinearProblem& p) { return p.rows <= kFewRows; };
  if (std::ranges::all_of(problems, few)) return linear_few(pool, table, problems);
  const std::vector<Task> tasks = cut_into_tasks(problems, pool.size());
  pool.parallel_for(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    float* scratch = static_cast<float*>(pool.scratch(worker, kLinearScratch * sizeof(float)));
    for (const Task& task :
         std::span(tasks).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))) {
      table.linear_dot(*task.problem, task.row, task.row_end, task.out, task.out_end, scratch);
    }
  });
}

void linear_decoding(ThreadPool& pool, const Table& table, std::span<const LinearProblem> problems,
                     FunctionRef<void(size_t problem, int64_t begin, int64_t end, float* to)> decode) {
  constexpr int64_t kTileFloats = 1 << 16;
  std::vector<LinearProblem> as_f32(problems.begin(), problems.end());
  int64_t longest = 1;
  for (LinearProblem& p : as_f32) {
    p.w_type = Element::f32;
    p.w_row = p.in;
    longest = std::max(longest, p.in);
  }
  const int64_t tile_rows = std::max(kTaskOuts, round_down(kTileFloats / longest, kTaskOuts));
  const std::vector<Task> tasks = cut_into_tasks(as_f32, pool.size());
  pool.parallel_for(std::ssize(tasks), 1, [&](int64_t begin, int64_t end, int worker) {
    const auto floats = static_cast<size_t>(kLinearScratch + tile_rows * longest);
    float* scratch = static_cast<float*>(pool.scratch(worker, floats * sizeof(float)));
    float* tile = scratch + kLinearScratch;
    for (int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[static_cast<size_t>(i)];
      for (int64_t out = task.out; out < task.out_end; out += tile_rows) {
        const int64_t outs = std::min(tile_rows, task.out_end - out);
        decode(static_cast<size_t>(task.problem - as_f32.data()), out, out + outs, tile);
        LinearProblem part = *task.problem;
        part.w = tile;
        part.out = outs;
        part.y += out;
        if (part.bias != nullptr) part.bias += out;
        table.linear_dot(part, task.row, task.row_end, 0, outs, scratch);
      }
    }
  });
}

}  // namespace frugal::kernels
