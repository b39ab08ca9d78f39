#include "kernels/gemm.h"

#include <algorithm>
#include <array>
#include <memory>

#include "core/error.h"
#include "kernels/for_each_table.h"
#include "kernels/matrices.h"

namespace frugal::kernels {
namespace {

constexpr float kUntouched = 123.0f;

// One product with everything it points to.
struct Case {
  Case(int64_t m, int64_t n, int64_t k, uint32_t variant, Rng& rng)
      : a(m, k, variant & 1, Element::f32, variant & 2 ? 3 : 0, variant & 4 ? 1 : 0, rng),
        b(k, n, variant & 8, variant & 16 ? Element::bf16 : Element::f32, variant & 32 ? 5 : 0,
          variant & 64 ? 1 : 0, rng),
        c_row(n + (variant & 128 ? 7 : 0)),
        accumulate(variant & 256),
        before(static_cast<size_t>(m * c_row + 1), kUntouched) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j)
        before[static_cast<size_t>(1 + i * c_row + j)] = rng.uniform() < 0.5 ? 0.25f : -2;
    }
    c = before;
  }
  Gemm problem() {
    return {.m = a.rows,
            .n = b.cols,
            .k = a.cols,
            .a = static_cast<const float*>(a.data()),
            .a_row = a.row,
            .a_col = a.col,
            .b = b.data(),
            .b_type = b.type,
            .b_row = b.row,
            .b_col = b.col,
            .c = c.data() + 1,
            .c_row = c_row,
            .accumulate = accumulate};
  }
  // Compares with the product in double; outputs only may have changed.
  void expect_right(Precision precision) const {
    std::vector<float> want = before;
    for (int64_t i = 0; i < a.rows; ++i) {
      for (int64_t j = 0; j < b.cols; ++j) {
        double sum = 0, size = 1;
        for (int64_t p = 0; p < a.cols; ++p) {
          const bool round = precision == Precision::bf16;
          const double left = round ? rounded_to_bf16(a.at(i, p)) : a.at(i, p);
          const double right = round ? rounded_to_bf16(b.at(p, j)) : b.at(p, j);
          sum += left * right;
          size += std::abs(left * right);
        }
        const auto at = static_cast<size_t>(1 + i * c_row + j);
        want[at] = static_cast<float>(sum + (accumulate ? before[at] : 0.0));
        ASSERT_NEAR(c[at], want[at], size * 3e-7 * std::sqrt(1.0 + static_cast<double>(a.cols)))
            << i << ", " << j;
        want[at] = c[at];
      }
    }
    ASSERT_EQ(std::memcmp(want.data(), c.data(), c.size() * sizeof(float)), 0) << "wrote outside of C";
  }

  Matrix a, b;
  int64_t c_row;
  bool accumulate;
  std::vector<float> before, c;
};

void run(ThreadPool& pool, const Table& table, Case& item, Precision precision) {
  const Gemm problem = item.problem();
  gemm(pool, table, {&problem, 1}, precision);
}

TEST(Gemm, OddSizesInEveryLayout) {
  ThreadPool pool(2);
  for_each_table([&](const Table& table) {
    Rng rng(1);
    for (uint32_t round = 0; round < 600; ++round) {
      const auto m = static_cast<int64_t>(1 + rng.below(70)), n = static_cast<int64_t>(1 + rng.below(70)),
                 k = static_cast<int64_t>(1 + rng.below(70));
      const auto variant = static_cast<uint32_t>(rng.below(512));
      const Precision precision = round % 2 ? Precision::bf16 : Precision::f32;
      Case item(m, n, k, variant, rng);
      run(pool, table, item, precision);
      SCOPED_TRACE(fmt::format("{} x {} x {}, variant {}, round {}", m, n, k, variant, round));
      item.expect_right(precision);
      if (::testing::Test::HasFatalFailure()) return;
    }
  });
}

TEST(Gemm, LargerSizesWithSeveralPiecesOfK) {
  ThreadPool pool(3);
  for_each_table([&](const Table& table) {
    Rng rng(2);
    const std::array<std::array<int64_t, 3>, 5> sizes = {
        {{130, 75, 1201}, {33, 200, 513}, {257, 31, 700}, {1, 500, 1024}, {300, 1, 640}}};
    uint32_t variant = 0;
    for (const auto& [m, n, k] : sizes) {
      for (const Precision precision : {Precision::f32, Precision::bf16}) {
        Case item(m, n, k, variant += 77, rng);
        run(pool, table, item, precision);
        SCOPED_TRACE(fmt::format("{} x {} x {}, variant {}", m, n, k, variant));
        item.expect_right(precision);
      }
    }
  });
}

// The wave limit is 2 Mi floats of packed B: n * k beyond it, one panel beyond it, and k so long that waves
// take parts of it in turn.
TEST(Gemm, FactorsLargerThanOneWave) {
  ThreadPool pool(2);
  Rng rng(3);
  for (const auto& [n, k] :
       std::array<std::array<int64_t, 2>, 3>{{{9001, 300}, {40, 140000}, {1100, 2700}}}) {
    Case item(3, n, k, 8, rng);
    run(pool, best(), item, Precision::f32);
    item.expect_right(Precision::f32);
  }
}

std::vector<float> product(ThreadPool& pool, const Table& table, Case& item, Precision precision) {
  item.c = item.before;
  run(pool, table, item, precision);
  return item.c;
}

TEST(Gemm, SameBitsForAnyNumberOfThreads) {
  for_each_table([&](const Table& table) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      Rng rng(4);
      Case item(203, 150, 900, 256 + 1, rng);
      std::vector<float> first;
      for (int threads = 1; threads <= 5; ++threads) {
        ThreadPool pool(threads);
        const std::vector<float> c = product(pool, table, item, precision);
        if (threads == 1) first = c;
        EXPECT_EQ(std::memcmp(first.data(), c.data(), c.size() * sizeof(float)), 0) << threads << " threads";
      }
    }
  });
}

TEST(Gemm, SameBitsForAPartAlone) {
  ThreadPool pool(2);
  for_each_table([&](const Table& table) {
    for (const uint32_t layout : {0u, 1u, 8u, 9u}) {
      for (const Precision precision : {Precision::f32, Precision::bf16}) {
        Rng rng(5);
        Case item(61, 83, 777, layout, rng);
        const std::vector<float> whole = product(pool, table, item, precision);
        for (const auto& [row, rows, column, columns] : std::array<std::array<int64_t, 4>, 4>{
                 {{0, 1, 0, 83}, {60, 1, 5, 1}, {13, 20, 31, 40}, {7, 54, 82, 1}}}) {
          std::vector<float> part(static_cast<size_t>(rows * columns));
          Gemm problem = item.problem();
          problem.m = rows;
          problem.n = columns;
          problem.a += row * problem.a_row;
          problem.b = static_cast<const float*>(problem.b) + column * problem.b_col;
          problem.c = part.data();
          problem.c_row = columns;
          gemm(pool, table, {&problem, 1}, precision);
          for (int64_t i = 0; i < rows; ++i) {
            ASSERT_EQ(std::memcmp(&part[static_cast<size_t>(i * columns)],
                                  &whole[static_cast<size_t>(1 + (row + i) * item.c_row + column)],
                                  static_cast<size_t>(columns) * sizeof(float)),
                      0)
                << "row " << row + i;
          }
        }
      }
    }
  });
}

// Parts of k that waves take in turn are added up like pieces within one wave: a few columns alone, whose k
// fits into one wave, give the same bits.
TEST(Gemm, SameBitsWhereWavesShareK) {
  ThreadPool pool(3);
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    Rng rng(7);
    Case item(5, 1030, 4100, 256 + 8, rng);
    const std::vector<float> whole = product(pool, best(), item, precision);
    Gemm problem = item.problem();
    problem.n = 20;
    problem.c_row = 20;
    problem.b = static_cast<const float*>(problem.b) + 700 * problem.b_col;
    std::vector<float> part;
    for (int64_t i = 0; i < problem.m; ++i) {
      const auto from = item.before.begin() + 1 + i * item.c_row + 700;
      part.insert(part.end(), from, from + problem.n);
    }
    problem.c = part.data();
    gemm(pool, best(), {&problem, 1}, precision);
    for (int64_t i = 0; i < problem.m; ++i) {
      EXPECT_EQ(std::memcmp(&part[static_cast<size_t>(i * problem.n)],
                            &whole[static_cast<size_t>(1 + i * item.c_row + 700)], 20 * sizeof(float)),
                0)
          << "row " << i;
    }
  }
}

// Problems with the same B share what is packed of it.
TEST(Gemm, SameBInSeveralProblems) {
  ThreadPool pool(2);
  Rng rng(8);
  Case first(50, 90, 1100, 1, rng), second(33, 90, 1100, 256, rng), other(20, 90, 1100, 1, rng);
  second.b = first.b;
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    for (Case* item : {&first, &other, &second}) item->c = item->before;
    std::array<Gemm, 3> problems = {first.problem(), other.problem(), second.problem()};
    problems[2].b = problems[0].b;
    gemm(pool, best(), problems, precision);
    for (const Case* item : {&first, &other, &second}) item->expect_right(precision);
  }
}

TEST(Gemm, GroupOfVeryDifferentSizesEqualsEachAlone) {
  for_each_table([&](const Table& table) {
    ThreadPool pool(3);
    Rng rng(6);
    std::vector<std::unique_ptr<Case>> items;
    for (const int64_t m : {1, 400, 0, 3, 57, 2, 14, 28, 90}) {
      items.push_back(std::make_unique<Case>(m, 70, 150, 1u + static_cast<uint32_t>(m % 2) * 256, rng));
    }
    items.push_back(std::make_unique<Case>(20, 30, 600, 8, rng));
    std::vector<std::vector<float>> alone;
    std::vector<Gemm> problems;
    for (auto& item : items) {
      alone.push_back(product(pool, table, *item, Precision::f32));
      item->expect_right(Precision::f32);
      item->c = item->before;
    }
    for (auto& item : items) problems.push_back(item->problem());
    gemm(pool, table, problems);
    for (size_t i = 0; i < items.size(); ++i) {
      EXPECT_EQ(std::memcmp(alone[i].data(), items[i]->c.data(), alone[i].size() * sizeof(float)), 0) << i;
    }
  });
}

TEST(Gemm, NothingToAddUpIsZero) {
  ThreadPool pool(2);
  std::vector<float> c(6, kUntouched);
  Gemm problem{
      .m = 2, .n = 2, .k = 0, .a_row = 1, .a_col = 1, .b_row = 1, .b_col = 1, .c = c.data(), .c_row = 3};
  gemm(pool, best(), {&problem, 1});
  EXPECT_EQ(c, (std::vector<float>{0, 0, kUntouched, 0, 0, kUntouched}));
  problem.accumulate = true;
  c.assign(6, kUntouched);
  gemm(pool, best(), {&problem, 1});
  EXPECT_EQ(c, std::vector<float>(6, kUntouched));
  gemm(pool, best(), {});
}

TEST(Gemm, WorksInsideAWorker) {
  ThreadPool pool(3);
  Rng rng(8);
  std::vector<std::unique_ptr<Case>> items;
  for (int i = 0; i < 6; ++i) items.push_back(std::make_unique<Case>(40, 50, 60, 1, rng));
  pool.parallel_for(6, 1, [&](int64_t begin, int64_t, int) {
    run(pool, best(), *items[static_cast<size_t>(begin)], Precision::f32);
  });
  for (auto& item : items) item->expect_right(Precision::f32);
}

TEST(Gemm, WrongStridesAreRefused) {
  ThreadPool pool(1);
  float x = 1;
  Gemm problem{.m = 1,
               .n = 1,
               .k = 1,
               .a = &x,
               .a_row = 2,
               .a_col = 2,
               .b = &x,
               .b_row = 1,
               .b_col = 1,
               .c = &x,
               .c_row = 1};
  EXPECT_THROW(gemm(pool, best(), {&problem, 1}), std::logic_error);
  problem.a_col = 1;
  problem.b_row = problem.b_col = 3;
  EXPECT_THROW(gemm(pool, best(), {&problem, 1}), std::logic_error);
  problem.b_row = 1;
  problem.m = 2;
  problem.n = 4;
  EXPECT_THROW(gemm(pool, best(), {&problem, 1}), std::logic_error);
}

}  // namespace
}  // namespace frugal::kernels
