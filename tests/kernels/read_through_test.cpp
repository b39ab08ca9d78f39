#include "kernels/read_through.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace frugal::kernels {
namespace {

// Pieces cover every row of every matrix once, begin at multiples of the step and stay small.
TEST(ReadThrough, CoversEveryRowOnce) {
  const std::vector<MatrixToRead> matrices = {{nullptr, 340, 960, 16},   {nullptr, 20, 7, 16},
                                              {nullptr, 1, 0, 4},        {nullptr, 0, 33, 8},
                                              {nullptr, 1 << 20, 19, 4}, {nullptr, 100, 5000, 1}};
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<std::vector<std::atomic<int>>> seen;
    for (const MatrixToRead& m : matrices) seen.emplace_back(static_cast<size_t>(m.rows));
    read_through(pool, matrices, [&](size_t i, int64_t begin, int64_t end, int worker) {
      const MatrixToRead& m = matrices[i];
      EXPECT_TRUE(worker >= 0 && worker < threads);
      EXPECT_TRUE(begin % m.step == 0 && begin < end && end <= m.rows);
      EXPECT_TRUE(end - begin <= m.step || (end - begin) * m.row_bytes <= 1 << 14);
      for (int64_t row = begin; row < end; ++row) ++seen[i][static_cast<size_t>(row)];
    });
    for (const auto& rows : seen) {
      for (const auto& count : rows) EXPECT_EQ(count, 1);
    }
  }
  ThreadPool pool(2);
  read_through(pool, {}, [](size_t, int64_t, int64_t, int) { FAIL(); });
}

}  // namespace
}  // namespace frugal::kernels
