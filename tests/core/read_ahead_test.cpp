// Runs of items, the order of reads, and asking for memory ahead.
#include "core/read_ahead.h"

#include <gtest/gtest.h>

#include <algorithm>
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
  for (int token = 0; token < 5; ++token) {
    const auto after_a = order.follow(a);
    EXPECT_EQ(after_a.empty(), token < 2) << token;
    if (token >= 2) {
      EXPECT_TRUE(std::ranges::equal(after_a[0], b));
    }
    const auto after_b = order.follow(b);
    EXPECT_EQ(after_b.empty(), token < 2) << token;
    if (token >= 2) {
      ASSERT_GT(after_b.size(), 1u) << "one job after the other is known";
      EXPECT_TRUE(std::ranges::equal(after_b[0], a));
      EXPECT_TRUE(std::ranges::equal(after_b[1], b));
    }
  }
  // Another follower: what is known of the others stays, and this one has to be seen twice.
  order.follow(a);
  order.follow(c);
  EXPECT_TRUE(order.follow(a).empty());
  order.follow(c);
  EXPECT_TRUE(std::ranges::equal(order.follow(a)[0], c));
  EXPECT_TRUE(order.follow({}).empty());
}

// A router, experts that are others every time, and what always comes after them.
TEST(ReadOrder, KnowsWhatComesAfterTheUnexpected) {
  const MemorySpan router = span_at(0x1000, 64), shared = span_at(0x2000, 64);
  const auto expert = [](int e, size_t bytes) {
    return span_at(0x10000 + 0x1000 * static_cast<uintptr_t>(e), bytes);
  };
  ReadOrder order;
  for (int token = 0; token < 12; ++token) {
    const std::vector<MemorySpan> chosen = {expert(token % 3, 64), expert(3 + token % 5, 64)};
    const auto after_router = order.follow({&router, 1});
    EXPECT_TRUE(after_router.empty()) << token;
    const auto after_experts = order.follow(chosen);
    if (token >= 6) {
      ASSERT_FALSE(after_experts.empty()) << token;
      EXPECT_EQ(after_experts[0][0], shared);
    }
    const auto after_shared = order.follow({&shared, 1});
    if (token >= 6) {
      ASSERT_EQ(after_shared.size(), 1u) << token;
      EXPECT_EQ(after_shared[0][0], router);
    }
  }
}

size_t steps_of(ReadAhead ahead) {
  size_t steps = 0;
  for (; !ahead.done(); ++steps) ahead.step();
  return steps;
}

TEST(ReadAhead, SharesAllSpansAndEnds) {
  constexpr size_t kStep = 512, kMost = 512 << 10;
  const auto steps = [](std::initializer_list<Reads> jobs, int index, int parts) {
    return steps_of(ReadAhead({jobs.begin(), jobs.size()}, index, parts));
  };
  EXPECT_TRUE(ReadAhead().done());
  EXPECT_EQ(steps({}, 0, 2), 0u);
  EXPECT_EQ(steps({Reads{}}, 0, 2), 0u);
  const std::vector<MemorySpan> spans = {span_at(0x1000, 10 * kStep), span_at(0x8000, 0),
                                         span_at(0x20000, 6 * kStep)};
  EXPECT_EQ(steps({spans}, 0, 1), 16u);
  EXPECT_EQ(steps({spans}, 0, 2), 8u);
  EXPECT_EQ(steps({spans}, 1, 2), 8u);  // 2 of the first span, 6 of the last
  EXPECT_EQ(steps({spans}, 2, 5), 4u);  // 3.2 steps' bytes, from the first span
  const MemorySpan large = span_at(0x100000, size_t{1} << 40), tiny = span_at(0x100001, 1);
  EXPECT_EQ(steps({{&large, 1}}, 0, 3), kMost / kStep);
  EXPECT_EQ(steps({{&tiny, 1}}, 0, 1), 1u);
  EXPECT_EQ(steps({spans, {&tiny, 1}, spans}, 0, 1), 33u) << "jobs one after the other";
  EXPECT_EQ(steps({spans, {&large, 1}, spans}, 1, 2), kMost / kStep);
  const std::vector<MemorySpan> many(1000, tiny);
  EXPECT_LT(steps({many}, 0, 1), 100u) << "no more pieces than there is room for";
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

// Asking for memory disturbs no job, whenever it happens; the addresses are not followed.
TEST(ThreadPool, AsksForMemoryBetweenJobs) {
  for (const int threads : {1, 2, 8}) {
    ThreadPool pool(threads);
    const MemorySpan nowhere = span_at(0x10, 100'000);
    std::atomic<int> sum = 0;
    for (int round = 0; round < 300; ++round) {
      pool.ask_for({&nowhere, 1});
      if (round % 3 == 0) pool.ask_for({&nowhere, 1});
      if (round % 2 == 0) {
        pool.parallel_runs(10, {&nowhere, 1}, [&](int64_t begin, int64_t, int) {
          pool.ask_for({&nowhere, 1});  // from inside a body: ignored
          sum += static_cast<int>(begin);
        });
      } else {
        pool.parallel_for(10, 1, [&](int64_t begin, int64_t, int) { sum += static_cast<int>(begin); });
      }
    }
    EXPECT_EQ(sum, 300 * 45);
    pool.ask_for({&nowhere, 1});  // and the pool ends
  }
}

}  // namespace
}  // namespace frugal
