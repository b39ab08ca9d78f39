#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/fields.h"
#include "core/files.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "core/utf8.h"

namespace frugal {
namespace {

struct Inner {
  double minutes = 0;
  void visit(FieldVisitor& v) { v.field("minutes", minutes, "wall-clock minutes"); }
};
struct Outer {
  int64_t layers = 2;
  std::optional<int64_t> rank;
  std::vector<std::string> files;
  Inner budget;
  void visit(FieldVisitor& v) {
    v.field("layers", layers, "how many");
    v.field("rank", rank, "low rank");
    v.field("files", files, "what to read");
    v.field("budget", budget, "what to spend");
  }
};

TEST(Fields, RoundTripThroughJson) {
  Outer outer;
  read_fields(
      outer, parse_json(R"({"layers": 3e0, "rank": 7, "files": "a", "budget": {"minutes": 1.5}})", "t"), "t");
  EXPECT_EQ(outer.layers, 3);
  EXPECT_EQ(outer.rank, 7);
  EXPECT_EQ(outer.files, std::vector<std::string>{"a"});
  EXPECT_EQ(to_text(write_fields(outer)), R"({"layers":3,"rank":7,"files":["a"],"budget":{"minutes":1.5}})");
  read_fields(outer, parse_json(R"({"rank": null})", "t"), "t");
  EXPECT_FALSE(outer.rank.has_value());
}

TEST(Fields, UnknownKeyNamesTheNearest) {
  Outer outer;
  try {
    read_fields(outer, parse_json(R"({"budget": {"minute": 1}})", "t"), "recipe.toml");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "recipe.toml: unknown key 'budget.minute'; did you mean 'budget.minutes'?");
  }
  EXPECT_THROW(read_fields(outer, parse_json(R"({"layers": "x"})", "t"), "t"), UsageError);
  for (const char* number : {"1.5", "-9.3e33", "1e400", "9223372036854775808"}) {
    EXPECT_ANY_THROW(read_fields(outer, parse_json(fmt::format("{{\"layers\": {}}}", number), "t"), "t"))
        << number;
  }
  read_fields(outer, parse_json(R"({"other": 1})", "t"), "t", UnknownKeys::ignore);
}

TEST(Json, HostileNestingIsAnError) {
  EXPECT_THROW(parse_json(std::string(100000, '['), "bomb"), Error);
  EXPECT_THROW(parse_json("{", "t"), Error);
}

TEST(Rng, PhiloxKnownAnswers) {  // Random123's kat_vectors for philox4x32-10
  EXPECT_EQ(philox({0, 0}, {0, 0, 0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u}, {~0u, ~0u, ~0u, ~0u}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Rng, ResumesFromPositionAndHasTheRightMoments) {
  Rng a(1, 2);
  for (int i = 0; i < 5; ++i) a.bits();
  Rng b(1, 2, a.position());
  EXPECT_EQ(a.bits(), b.bits());
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = a.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 1e5, 0, 0.02);
  EXPECT_NEAR(squares / 1e5, 1, 0.03);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(a.below(7));
  EXPECT_EQ(seen.size(), 7u);
}

TEST(ThreadPool, CoversEveryItemOnceAtAnySize) {
  for (const int threads : {1, 2, 3, 64}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::vector<std::atomic<int>> seen(1001);
      pool.parallel_for(1001, 7, [&](int64_t begin, int64_t end, int worker) {
        EXPECT_LT(worker, threads);
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      for (const auto& s : seen) EXPECT_EQ(s, 1);
    }
  }
}

TEST(ThreadPool, ExceptionsReachTheCallerAndNestedCallsRun) {
  ThreadPool pool(4);
  EXPECT_THROW(pool.parallel_for(100, 1,
                                 [](int64_t b, int64_t, int) {
                                   if (b == 50) fail("no");
                                 }),
               Error);
  std::atomic<int> count{0};
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int) {
    pool.parallel_for(10, 3, [&](int64_t b, int64_t e, int) { count += static_cast<int>(e - b); });
  });
  EXPECT_EQ(count, 80);
  EXPECT_THROW(ThreadPool(-1), UsageError);
  EXPECT_THROW(ThreadPool(100000), UsageError);
}

// Workers that wake late must find their job closed: none may touch it once parallel_for has returned.
TEST(ThreadPool, NobodyWorksOnAJobThatIsOver) {
  ThreadPool pool(16);
  std::atomic<int> late{0};
  for (int job = 0; job < 3000; ++job) {
    std::atomic<bool> over{false};
    std::atomic<int> done{0};
    pool.parallel_for(1 + job % 40, 1, [&](int64_t, int64_t, int) {
      if (over) ++late;
      ++done;
    });
    over = true;
    ASSERT_EQ(done, 1 + job % 40);
    if (job % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // let workers fall asleep
  }
  EXPECT_EQ(late, 0);
}

// A worker may wake for a job that is over and find its pool already ending: it has to leave all the same.
TEST(ThreadPool, EndsRightAfterAJobThatWorkersCameTooLateFor) {
  for (int i = 0; i < 2000; ++i) {
    ThreadPool pool(4);
    std::atomic<int64_t> items = 0;
    pool.parallel_for(2, 1, [&](int64_t begin, int64_t end, int) { items += end - begin; });
    ASSERT_EQ(items, 2);
  }
}

TEST(ThreadPool, WorkersKnowThemselvesInNestedCalls) {
  ThreadPool pool(3);
  EXPECT_EQ(pool.this_worker(), 0);
  pool.parallel_for(64, 1, [&](int64_t, int64_t, int worker) {
    EXPECT_EQ(pool.this_worker(), worker);
    pool.parallel_for(4, 1, [&](int64_t, int64_t, int inner) { EXPECT_EQ(inner, worker); });
  });
}

TEST(Files, AtomicWriteLeavesNothingBehindOnFailure) {
  const fs::path dir = fs::path(testing::TempDir()) / "frugal_files";
  fs::remove_all(dir);
  make_directories(dir);
  write_file_atomically(dir / "a", "one");
  {
    AtomicFile file(dir / "a");
    file.write("two");
  }  // never committed
  EXPECT_EQ(read_file(dir / "a"), "one");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir), fs::directory_iterator()), 1);
  EXPECT_EQ(MappedFile(dir / "a").text(), "one");
  EXPECT_THROW(read_file(dir / "missing"), Error);
  EXPECT_THROW(write_file_atomically(dir / "no" / "such", "x"), Error);
}

TEST(Utf8, ValidityAndReplacementAreTheStandards) {
  EXPECT_EQ(valid_utf8_prefix("plain ascii, long enough"), 24u);
  EXPECT_EQ(valid_utf8_prefix("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), 10u);
  for (const std::string bad : {"\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\x80", "\xFF"}) {
    EXPECT_EQ(valid_utf8_prefix("ok" + bad), 2u);
  }
  const std::string r = "\xEF\xBF\xBD";
  // Table 3-8 of the Unicode standard, chapter 3.
  EXPECT_EQ(replace_invalid_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(replace_invalid_utf8("caf\xC3\xA9"), "caf\xC3\xA9");
}

}  // namespace
}  // namespace frugal
