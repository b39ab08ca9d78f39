#include "kernels/weigh.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace frugal::kernels {

void weigh_rows(ThreadPool& pool, const Table& table, std::span<const WeighRows> problems) {
  constexpr int64_t kColumns = 4 * kQ8Values;  // of a task
  struct Task {
    const WeighRows* problem;
    int64_t begin;
  };
  std::vector<Task> tasks;
  for (const WeighRows& p : problems) {
    const bool blocks = p.type == KvType::q8_0 || p.type == KvType::q4_0;
    CHECK(p.rows <= 1 || (p.x_row >= p.in && p.y_row >= p.out), "weigh_rows: rows of {} and {} for {} x {}",
          p.x_row, p.y_row, p.in, p.out);
    CHECK(!blocks || p.out % kQ8Values == 0, "weigh_rows: {} columns are not blocks of {}", p.out, kQ8Values);
    for (int64_t begin = 0; begin < p.out && p.rows > 0; begin += kColumns) tasks.push_back({&p, begin});
  }
  pool.parallel_for(std::ssize(tasks), 1, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const Task& task = tasks[static_cast<size_t>(i)];
      table.weigh_rows(*task.problem, task.begin, std::min(task.problem->out, task.begin + kColumns));
    }
  });
}

}  // namespace frugal::kernels
