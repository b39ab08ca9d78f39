#include "kernels/weigh.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace frugal::kernels {
namespace {

constexpr int64_t kMostAhead = 1 << 18;  // of a core's second-level cache

void check(const WeighRows& p) {
  const bool blocks = p.type == KvType::q8_0 || p.type == KvType::q4_0;
  CHECK(p.rows <= 1 || (p.x_row >= p.in && p.y_row >= p.out), "weigh_rows: rows of {} and {} for {} x {}",
        p.x_row, p.y_row, p.in, p.out);
  CHECK(!blocks || p.out % kQ8Values == 0, "weigh_rows: {} columns are not blocks of {}", p.out, kQ8Values);
}

}  // namespace

void weigh_rows(ThreadPool& pool, const Table& table, std::span<const WeighRows> problems) {
  struct Task {
    const WeighRows* problem;
    int64_t begin, end;
    int64_t ahead = 0;
  };
  // Whole matrices, where there are enough of them, are read from end to end. The next one is asked for
  // meanwhile, with what lies between them: they are parts of one matrix that are read in turn.
  const bool whole = std::ssize(problems) >= 4 * pool.size();
  std::vector<Task> tasks;
  std::vector<MemorySpan> reads;
  for (const WeighRows& p : problems) {
    check(p);
    if (p.rows == 0 || p.out == 0) continue;
    const auto* w = static_cast<const std::byte*>(p.w);
    if (!tasks.empty()) {
      const WeighRows& before = *tasks.back().problem;
      const auto ahead = w - static_cast<const std::byte*>(before.w);
      for (size_t i = tasks.size(); i > 0 && tasks[i - 1].problem == &before && ahead > 0; --i)
        tasks[i - 1].ahead = std::min<int64_t>(ahead, kMostAhead);
    }
    const int64_t columns = whole ? p.out : 4 * kQ8Values;
    for (int64_t begin = 0; begin < p.out; begin += columns)
      tasks.push_back({&p, begin, std::min(p.out, begin + columns)});
    reads.push_back({w, static_cast<size_t>(p.in * p.w_bytes)});
  }
  pool.parallel_runs(std::ssize(tasks), reads, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const Task& task = tasks[static_cast<size_t>(i)];
      table.weigh_rows(*task.problem, task.begin, task.end, task.ahead);
    }
  });
}

}  // namespace frugal::kernels
