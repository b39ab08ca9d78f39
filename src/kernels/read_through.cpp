#include "kernels/read_through.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace frugal::kernels {
namespace {

constexpr int64_t kPieceBytes = 1 << 14;

// The pieces of one matrix, numbered on from those before it.
struct Pieces {
  int64_t rows;  // of each
  int64_t first, end;
};

}  // namespace

void read_through(ThreadPool& pool, std::span<const MatrixToRead> matrices,
                  FunctionRef<void(size_t, int64_t, int64_t, int)> body) {
  std::vector<Pieces> list;
  std::vector<MemorySpan> reads;
  int64_t count = 0;
  for (const MatrixToRead& m : matrices) {
    CHECK(m.step > 0 && m.row_bytes >= 0 && m.rows >= 0);
    const int64_t rows =
        std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, m.step * m.row_bytes)) * m.step;
    list.push_back({rows, count, count + (m.rows + rows - 1) / rows});
    count = list.back().end;
    reads.push_back({static_cast<const std::byte*>(m.from), static_cast<size_t>(m.rows * m.row_bytes)});
  }
  pool.parallel_runs(count, reads, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      size_t at = 0;
      while (i >= list[at].end) ++at;
      const int64_t row = (i - list[at].first) * list[at].rows;
      body(at, row, std::min(matrices[at].rows, row + list[at].rows), worker);
    }
  });
}

}  // namespace frugal::kernels
