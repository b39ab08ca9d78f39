#include "kernels/linear.h"

#include <array>

#include "core/error.h"
#include "kernels/for_each_table.h"
#include "kernels/matrices.h"

namespace frugal::kernels {
namespace {

constexpr float kUntouched = 123.0f;

struct Case {
  Case(int64_t rows, int64_t in, int64_t out, uint32_t variant, Rng& rng)
      : x(rows, in, true, Element::f32, variant & 1 ? 3 : 0, variant & 2 ? 1 : 0, rng),
        w(out, in, true, variant & 4 ? Element::bf16 : Element::f32, variant & 8 ? 5 : 0,
          variant & 16 ? 1 : 0, rng),
        bias(1, out, true, Element::f32, 0, 0, rng),
        has_bias(variant & 32),
        accumulate(variant & 64),
        precision(variant & 256 ? Precision::bf16 : Precision::f32),
        y_row(out + (variant & 128 ? 3 : 0)),
        before(static_cast<size_t>(rows * y_row + 1), kUntouched) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < out; ++j)
        before[static_cast<size_t>(1 + i * y_row + j)] = rng.uniform() < 0.5 ? 0.5f : -1;
    }
    y = before;
  }
  LinearProblem problem() {
    return {.rows = x.rows,
            .in = x.cols,
            .out = w.rows,
            .x = static_cast<const float*>(x.data()),
            .x_row = x.row,
            .w = w.data(),
            .w_type = w.type,
            .w_row = w.row,
            .bias = has_bias ? static_cast<const float*>(bias.data()) : nullptr,
            .y = y.data() + 1,
            .y_row = y_row,
            .accumulate = accumulate,
            .precision = precision};
  }
  void expect_right(const Table& table) const {
    const bool rounds = table.bf16_pairs && precision == Precision::bf16 && w.type == Element::bf16;
    std::vector<float> want = before;
    for (int64_t i = 0; i < x.rows; ++i) {
      for (int64_t j = 0; j < w.rows; ++j) {
        double sum = has_bias ? bias.at(0, j) : 0.0, size = 1;
        for (int64_t p = 0; p < x.cols; ++p) {
          const double left = rounds ? rounded_to_bf16(x.at(i, p)) : x.at(i, p);
          sum += left * w.at(j, p);
          size += std::abs(left * w.at(j, p));
        }
        const auto at = static_cast<size_t>(1 + i * y_row + j);
        ASSERT_NEAR(y[at], sum + (accumulate ? before[at] : 0.0), size * 1e-6) << i << ", " << j;
        want[at] = y[at];
      }
    }
    ASSERT_EQ(std::memcmp(want.data(), y.data(), y.size() * sizeof(float)), 0) << "wrote outside of y";
  }

  Matrix x, w, bias;
  bool has_bias, accumulate;
  Precision precision;
  int64_t y_row;
  std::vector<float> before, y;
};

void run(ThreadPool& pool, const Table& table, Case& item) {
  item.y = item.before;
  const LinearProblem problem = item.problem();
  linear(pool, table, {&problem, 1});
}

TEST(Linear, OddSizesInEveryForm) {
  ThreadPool pool(2);
  for_each_table([&](const Table& table) {
    Rng rng(1);
    for (int round = 0; round < 500; ++round) {
      const auto rows = static_cast<int64_t>(1 + rng.below(40)), in = static_cast<int64_t>(rng.below(99)),
                 out = static_cast<int64_t>(1 + rng.below(70));
      const auto variant = static_cast<uint32_t>(rng.below(512));
      Case item(rows, in, out, variant, rng);
      run(pool, table, item);
      SCOPED_TRACE(fmt::format("{} x {} -> {}, variant {}", rows, in, out, variant));
      item.expect_right(table);
      if (::testing::Test::HasFatalFailure()) return;
    }
  });
}

TEST(Linear, LargerSizes) {
  ThreadPool pool(3);
  for_each_table([&](const Table& table) {
    Rng rng(2);
    uint32_t variant = 0;
    for (const auto& [rows, in, out] : std::array<std::array<int64_t, 3>, 5>{
             {{1, 5000, 90}, {130, 1025, 77}, {7, 2048, 200}, {300, 64, 50}, {1, 33, 3000}}}) {
      for (const Precision precision : {Precision::f32, Precision::f32, Precision::bf16}) {
        variant = precision == Precision::bf16 ? variant | 256 | 4 : (variant + 45) % 256;
        Case item(rows, in, out, variant, rng);
        run(pool, table, item);
        item.expect_right(table);
      }
    }
  });
}

// Row r of a batch, alone, in part of the outputs, with any number of threads: the same bits.
TEST(Linear, SameBitsForOneRowAndManyAndAnyThreads) {
  for_each_table([&](const Table& table) {
    for (const uint32_t variant : {0u, 4u, 32u + 64u, 256u + 4u, 256u + 4u + 32u + 64u}) {
      Rng rng(3);
      Case item(205, 2100, 61, variant, rng);
      ThreadPool one(1);
      run(one, table, item);
      const std::vector<float> whole = item.y;
      for (int threads = 2; threads <= 5; ++threads) {
        ThreadPool pool(threads);
        run(pool, table, item);
        EXPECT_EQ(std::memcmp(whole.data(), item.y.data(), whole.size() * sizeof(float)), 0) << threads;
      }
      for (const auto& [row, rows] :
           std::array<std::array<int64_t, 2>, 5>{{{0, 1}, {204, 1}, {50, 2}, {9, 5}, {3, 100}}}) {
        for (const auto& [out, outs] : std::array<std::array<int64_t, 2>, 3>{{{0, 61}, {60, 1}, {7, 30}}}) {
          item.y = item.before;
          LinearProblem part = item.problem();
          part.rows = rows;
          part.out = outs;
          part.x += row * part.x_row;
          part.y += row * part.y_row + out;
          part.w = part.w_type == Element::f32
                       ? static_cast<const void*>(static_cast<const float*>(part.w) + out * part.w_row)
                       : static_cast<const void*>(static_cast<const uint16_t*>(part.w) + out * part.w_row);
          if (part.bias) part.bias += out;
          linear(one, table, {&part, 1});
          for (int64_t i = row; i < row + rows; ++i) {
            const auto at = static_cast<size_t>(1 + i * item.y_row + out);
            ASSERT_EQ(std::memcmp(&whole[at], &item.y[at], static_cast<size_t>(outs) * sizeof(float)), 0)
                << rows << " rows, row " << i;
          }
        }
      }
    }
  });
}

TEST(Linear, GroupEqualsEachAlone) {
  ThreadPool pool(3);
  Rng rng(4);
  std::vector<Case> items;
  for (const int64_t rows : {3, 0, 1, 120, 2}) items.emplace_back(rows, 100, 40, 36, rng);
  std::vector<LinearProblem> problems;
  for (Case& item : items) problems.push_back(item.problem());
  linear(pool, best(), problems);
  for (Case& item : items) {
    item.expect_right(best());
    const std::vector<float> together = item.y;
    run(pool, best(), item);
    EXPECT_EQ(std::memcmp(together.data(), item.y.data(), together.size() * sizeof(float)), 0);
  }
  linear(pool, best(), {});
}

TEST(Linear, WrongStridesAreRefused) {
  ThreadPool pool(1);
  float x[4] = {}, y[4] = {};
  LinearProblem problem{
      .rows = 2, .in = 2, .out = 2, .x = x, .x_row = 1, .w = x, .w_row = 2, .y = y, .y_row = 2};
  EXPECT_THROW(linear(pool, best(), {&problem, 1}), std::logic_error);
  problem.x_row = 2;
  problem.w_row = 1;
  EXPECT_THROW(linear(pool, best(), {&problem, 1}), std::logic_error);
  problem.w_row = 2;
  problem.y_row = 1;
  EXPECT_THROW(linear(pool, best(), {&problem, 1}), std::logic_error);
}

}  // namespace
}  // namespace frugal::kernels
