// Runs of items, the order of reads, and asking for memory ahead.
#include "core/read_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "core/thread_pool.h"

namespace frugal {
namespace {

// Addresses are never followed: any will do.
MemorySpan span_at(uintptr_t from, size_t bytes) {
  return {reinterpret_cast<const std::byte*>(from), bytes};
}

TEST(ReadOrder, KnowsWhatCameNextBothLastTimes) {
  const std::vector<MemorySpan> a = {span_at(0x1000, 64), span_at(0x9000, 32)}, b = {span_at(0x2000, 100)},
                                c = {span_at(0x3000, 1)};
  ReadOrder order;
  for (int token = 0; token < 4; ++token) {
    const auto after_a = order.follow(a);
    EXPECT_EQ(after_a.size(), token < 2 ? 0u : 1u) << token;
    if (!after_a.empty()) {
      EXPECT_EQ(after_a[0], b[0]);
    }
    const auto after_b = order.follow(b);
    EXPECT_EQ(after_b.size(), token < 2 ? 0u : 2u) << token;
    if (!after_b.empty()) {
      EXPECT_EQ(after_b[1], a[1]);
    }
  }
  // Another follower: what is known of the others stays, and this one has to be seen twice.
  order.follow(a);
  order.follow(c);
  EXPECT_TRUE(order.follow(a).empty());
  order.follow(c);
  EXPECT_EQ(order.follow(a)[0], c[0]);
  EXPECT_TRUE(order.follow({}).empty());
}

size_t steps_of(ReadAhead ahead) {
  size_t steps = 0;
  for (; !ahead.done(); ++steps) ahead.step();
  return steps;
}

TEST(ReadAhead, SharesAllSpansAndEnds) {
  constexpr size_t kStep = 512, kMost = 512 << 10;
  EXPECT_TRUE(ReadAhead().done());
  EXPECT_EQ(steps_of(ReadAhead({}, 0, 2)), 0u);
  const std::vector<MemorySpan> spans = {span_at(0x1000, 10 * kStep), span_at(0x8000, 0),
                                         span_at(0x20000, 6 * kStep)};
  EXPECT_EQ(steps_of(ReadAhead(spans, 0, 1)), 16u);
  EXPECT_EQ(steps_of(ReadAhead(spans, 0, 2)), 8u);
  EXPECT_EQ(steps_of(ReadAhead(spans, 1, 2)), 8u);  // 2 of the first span, 6 of the last
  EXPECT_EQ(steps_of(ReadAhead(spans, 2, 5)), 4u);  // 3.2 steps' bytes, from the first span
  const MemorySpan large = span_at(0x100000, size_t{1} << 40), tiny = span_at(0x100001, 1);
  EXPECT_EQ(steps_of(ReadAhead({&large, 1}, 0, 3)), kMost / kStep);
  EXPECT_EQ(steps_of(ReadAhead({&tiny, 1}, 0, 1)), 1u);
}

TEST(ThreadPool, RunsCoverEveryItemOnce) {
  for (const int threads : {1, 2, 3, 16}) {
    ThreadPool pool(threads);
    const std::vector<std::byte> memory(4096);
    for (const int64_t items : {0, 1, 2, 7, 100, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(items));
      const MemorySpan reads{memory.data(), memory.size()};
      pool.parallel_runs(items, {&reads, 1}, [&](int64_t begin, int64_t end, int worker) {
        EXPECT_TRUE(worker >= 0 && worker < threads);
        EXPECT_EQ(end, begin + 1);
        ++seen[static_cast<size_t>(begin)];
        pool.parallel_runs(3, {&reads, 1}, [&](int64_t, int64_t, int inner) { EXPECT_EQ(inner, worker); });
      });
      for (const auto& count : seen) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, RunsStopAtAnException) {
  ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> done = 0;
    EXPECT_THROW(pool.parallel_runs(1000, {},
                                    [&](int64_t begin, int64_t, int) {
                                      if (begin == 10) throw std::runtime_error("ten");
                                      ++done;
                                    }),
                 std::runtime_error);
    EXPECT_LT(done, 1000);
    pool.parallel_runs(5, {}, [&](int64_t, int64_t, int) { ++done; });
  }
}

}  // namespace
}  // namespace frugal
