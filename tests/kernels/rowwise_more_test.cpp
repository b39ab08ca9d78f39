// Cross-entropy, rows moved by index, flat arrays and the AdamW step against plain loops in double.
#include <functional>

#include "core/error.h"
#include "kernels/arrays.h"
#include "kernels/for_each_table.h"
#include "kernels/rowwise.h"

namespace frugal::kernels {
namespace {

constexpr double kTolerance = 2e-6;

TEST(CrossEntropyRows, LossesAndGradient) {
  for (const int64_t vocab : {1, 5, 64, 1000, 4097}) {
    const int64_t rows = 7, stride = vocab + 1;
    Floats logits = random_floats(rows * stride, 11, 4.0);
    logits[0] = 300.0f;  // far above what exp can hold
    if (vocab > 5) logits[3] = -INFINITY;
    std::vector<int32_t> targets;
    for (int64_t r = 0; r < rows; ++r) targets.push_back(static_cast<int32_t>(r * 31 % vocab));
    targets[2] = -1, targets[5] = -100;
    Doubles losses, lse, gradient(logits.begin(), logits.end());
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t target = targets[index_of(r)];
      const auto at = [&](int64_t c) { return double{logits[index_of(r * stride + c)]}; };
      double most = -1e300, sum = 0;
      for (int64_t c = 0; c < vocab; ++c) most = std::max(most, at(c));
      for (int64_t c = 0; c < vocab; ++c) sum += std::exp(at(c) - most);
      lse.push_back(target < 0 ? 0 : most + std::log(sum));
      losses.push_back(target < 0 ? 0 : lse.back() - at(target));
      for (int64_t c = 0; c < vocab; ++c) {
        gradient[index_of(r * stride + c)] =
            target < 0 ? 0 : (std::exp(at(c) - lse.back()) - (c == target ? 1 : 0)) * 0.25;
      }
    }
    for_each_table([&](const Table& table) {
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        Floats x = logits, got(index_of(rows), 9.0f), got_lse(index_of(rows), 9.0f);
        CrossEntropy args{.rows = rows,
                          .vocab = vocab,
                          .logits = x.data(),
                          .logits_row = stride,
                          .targets = targets.data(),
                          .losses = got.data(),
                          .lse = got_lse.data()};
        cross_entropy_rows(pool, table, args);
        EXPECT_TRUE(same_bits(x, logits)) << "logits must stay when no gradient is asked for";
        expect_near(got, losses, kTolerance, "losses");
        expect_near(got_lse, lse, kTolerance, "lse");
        args.gradient = true;
        args.scale = 0.25f;
        cross_entropy_rows(pool, table, args);
        expect_near(got, losses, kTolerance, "losses");
        for (int64_t r = 0; r < rows; ++r) {  // the column beyond the vocabulary is not touched
          EXPECT_EQ(x[index_of(r * stride + vocab)], logits[index_of(r * stride + vocab)]);
          for (int64_t c = 0; c < vocab; ++c) {
            EXPECT_NEAR(double{x[index_of(r * stride + c)]}, gradient[index_of(r * stride + c)], 1e-6);
          }
        }
      }
    });
  }
}

TEST(CrossEntropyRows, TargetOutsideTheVocabularyIsABrokenContract) {
  ThreadPool pool(1);
  float logits[3] = {}, loss = 0;
  const int32_t target = 3;
  EXPECT_THROW(
      cross_entropy_rows(pool, best(),
                         {.rows = 1, .vocab = 3, .logits = logits, .targets = &target, .losses = &loss}),
      std::logic_error);
}

TEST(Gather, CopiesRowsAndScatterAddsThemInOrder) {
  const int64_t rows = 201, dim = 83, table_rows = 13;
  const Floats source = random_floats(table_rows * dim, 12), x = random_floats(rows * dim, 13);
  const Floats weight = random_floats(rows, 14);
  std::vector<int32_t> index;
  for (int64_t r = 0; r < rows; ++r) index.push_back(static_cast<int32_t>(r * 7 % 14) - 1);
  Doubles gathered, scattered(source.begin(), source.end());
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t to = index[index_of(r)];
    for (int64_t c = 0; c < dim; ++c) {
      gathered.push_back(to < 0 ? 0.0 : double{source[index_of(to * dim + c)]});
      if (to < 0) continue;
      scattered[index_of(to * dim + c)] += double{weight[index_of(r)]} * double{x[index_of(r * dim + c)]};
    }
  }
  for_each_table([&](const Table& table) {
    Floats first;
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      Floats got(gathered.size(), 5.0f), sums = source;
      gather_rows(pool, table,
                  {.rows = rows, .dim = dim, .x = source.data(), .index = index.data(), .out = got.data()});
      scatter_add_rows(pool, table,
                       {.rows = rows,
                        .dim = dim,
                        .x = x.data(),
                        .index = index.data(),
                        .weight = weight.data(),
                        .out = sums.data(),
                        .out_rows = table_rows});
      expect_near(got, gathered, 0, "gathered");
      expect_near(sums, scattered, kTolerance, "scattered");
      if (first.empty()) first = sums;
      EXPECT_TRUE(same_bits(first, sums));
    }
    ThreadPool pool(1);
    std::vector<int32_t> outside = index;
    outside[3] = 13;
    Floats sums = source;
    EXPECT_THROW(scatter_add_rows(pool, table,
                                  {.rows = rows,
                                   .dim = dim,
                                   .x = x.data(),
                                   .index = outside.data(),
                                   .out = sums.data(),
                                   .out_rows = table_rows}),
                 std::logic_error);
  });
}

TEST(Combine, WeightsExpertRowsAndItsGradient) {
  const int64_t rows = 45, k = 3, dim = 50, slots = rows * k;
  const Floats x = random_floats(slots * dim, 15), weight = random_floats(rows * k, 16);
  const Floats dout = random_floats(rows * dim, 17), before = random_floats(rows * dim, 18);
  std::vector<int32_t> slot;
  for (int64_t i = 0; i < rows * k; ++i)
    slot.push_back(i % 11 == 5 ? -1 : static_cast<int32_t>(i * 7 % slots));
  for (const bool weighted : {true, false}) {
    Doubles out, dx(x.size(), 3.0), dweight;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < dim; ++c) {
        double sum = double{before[index_of(r * dim + c)]};
        for (int64_t j = r * k; j < r * k + k; ++j) {
          const int64_t s = slot[index_of(j)];
          const double w = weighted ? double{weight[index_of(j)]} : 1.0;
          if (s < 0) continue;
          sum += w * double{x[index_of(s * dim + c)]};
          dx[index_of(s * dim + c)] = w * double{dout[index_of(r * dim + c)]};
        }
        out.push_back(sum);
      }
      for (int64_t j = r * k; j < r * k + k; ++j) {
        const int64_t s = slot[index_of(j)];
        double dot = 0;
        for (int64_t c = 0; c < dim && s >= 0; ++c) {
          dot += double{dout[index_of(r * dim + c)]} * double{x[index_of(s * dim + c)]};
        }
        dweight.push_back(dot);
      }
    }
    for_each_table([&](const Table& table) {
      for (const int threads : {1, 4}) {
        ThreadPool pool(threads);
        const float* w = weighted ? weight.data() : nullptr;
        Floats got = before, got_dx(x.size(), 3.0f), got_dweight(weight.size(), 9.0f),
               fresh(before.size(), NAN);
        CombineRows args{.rows = rows,
                         .dim = dim,
                         .k = k,
                         .x = x.data(),
                         .slot = slot.data(),
                         .weight = w,
                         .out = got.data(),
                         .accumulate = true};
        combine_rows(pool, table, args);
        args.out = fresh.data();
        args.accumulate = false;
        combine_rows(pool, table, args);
        combine_rows_backward(pool, table,
                              {.rows = rows,
                               .dim = dim,
                               .k = k,
                               .dout = dout.data(),
                               .x = x.data(),
                               .slot = slot.data(),
                               .weight = w,
                               .dx = got_dx.data(),
                               .dweight = got_dweight.data()});
        expect_near(got, out, kTolerance, "out");
        for (size_t i = 0; i < fresh.size(); ++i) EXPECT_NEAR(fresh[i] + before[i], got[i], 1e-5f);
        expect_near(got_dx, dx, kTolerance, "dx");
        expect_near(got_dweight, dweight, kTolerance, "dweight");
      }
    });
  }
}

TEST(Flat, AddAxpyScaleSquares) {
  for (const int64_t n : {0, 1, 15, 33, 40000}) {
    const Floats a = random_floats(n, 19), b = random_floats(n, 20);
    Doubles sum, axpied, scaled;
    double squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      sum.push_back(double{a[i]} + double{b[i]});
      axpied.push_back(double{b[i]} - 0.3 * double{a[i]});
      scaled.push_back(1.7 * double{a[i]});
      squares += double{a[i]} * double{a[i]};
    }
    for_each_table([&](const Table& table) {
      double first = -1;
      for (const int threads : {1, 2, 5}) {
        ThreadPool pool(threads);
        Floats y(a.size()), z = b, s(a.size());
        add(pool, table, n, a.data(), b.data(), y.data());
        axpy(pool, table, n, -0.3f, a.data(), z.data());
        scale(pool, table, n, 1.7f, a.data(), s.data());
        expect_near(y, sum, kTolerance, "add");
        expect_near(z, axpied, kTolerance, "axpy");
        expect_near(s, scaled, kTolerance, "scale");
        const double got = sum_of_squares(pool, table, n, a.data());
        EXPECT_NEAR(got, squares, 1e-6 * (1 + squares));
        if (first < 0) first = got;
        EXPECT_EQ(first, got);
        std::vector<uint16_t> half(a.size());
        Floats back(a.size());
        f32_to_bf16(pool, table, n, a.data(), half.data());
        bf16_to_f32(pool, table, n, half.data(), back.data());
        for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(back[i], a[i], std::abs(a[i]) / 256 + 1e-30f);
      }
    });
  }
}

// As Muon calls it, for many matrices at a time: workers must not share what they sum into.
TEST(Flat, SumOfSquaresFromInsideABody) {
  const int64_t n = 40000, matrices = 64;
  std::vector<Floats> x;
  for (int64_t i = 0; i < matrices; ++i) x.push_back(random_floats(n, static_cast<uint64_t>(100 + i)));
  for_each_table([&](const Table& table) {
    ThreadPool pool(4), one(1);
    std::vector<double> got(matrices);
    pool.parallel_for(matrices, 1, [&](int64_t i, int64_t, int) {
      got[static_cast<size_t>(i)] = sum_of_squares(pool, table, n, x[static_cast<size_t>(i)].data());
    });
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(got[i], sum_of_squares(one, table, n, x[i].data()));
  });
}

TEST(AdamWStep, FollowsTheFormulaForSomeSteps) {
  const int64_t n = 1003;
  Floats start = random_floats(n, 21);
  for_each_table([&](const Table& table) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      Floats p = start, m(index_of(n)), v(index_of(n));
      Doubles want(start.begin(), start.end()), first(index_of(n)), second(index_of(n));
      const double lr = 1e-2, b1 = 0.9, b2 = 0.95, eps = 1e-8, decay = 0.1;
      for (int step = 1; step <= 5; ++step) {
        const Floats g = random_floats(n, 100 + static_cast<uint64_t>(step));
        const double bias1 = 1 - std::pow(b1, step), bias2 = 1 - std::pow(b2, step);
        adamw_update(pool, table,
                     {.lr = 1e-2f,
                      .beta1 = 0.9f,
                      .beta2 = 0.95f,
                      .eps = 1e-8f,
                      .weight_decay = 0.1f,
                      .bias1 = static_cast<float>(bias1),
                      .bias2 = static_cast<float>(bias2),
                      .grad_scale = 0.5f},
                     n, g.data(), p.data(), m.data(), v.data());
        for (size_t i = 0; i < want.size(); ++i) {
          const double grad = 0.5 * double{g[i]};
          first[i] = b1 * first[i] + (1 - b1) * grad;
          second[i] = b2 * second[i] + (1 - b2) * grad * grad;
          want[i] -= lr * decay * want[i];
          want[i] -= lr / bias1 * first[i] / (std::sqrt(second[i] / bias2) + eps);
        }
      }
      expect_near(p, want, 1e-6, "p");
      expect_near(m, first, 1e-6, "m");
      expect_near(v, second, 1e-6, "v");
    }
  });
}

TEST(Rowwise, SumOfSquaresFromInsideParallelWork) {
  // Every worker has scratch of its own: many sums at once give what each gives alone.
  ThreadPool pool(4);
  const int64_t n = 100'000;
  std::vector<float> a(static_cast<size_t>(n));
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 97) * 0.01f;
  const Table& table = best();
  const double alone[] = {sum_of_squares(pool, table, n, a.data()),
                          sum_of_squares(pool, table, n / 2, a.data())};
  std::vector<double> got(256);
  pool.parallel_for(256, 1, [&](int64_t i, int64_t, int) {
    got[static_cast<size_t>(i)] = sum_of_squares(pool, table, i % 2 == 0 ? n : n / 2, a.data());
  });
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], alone[i % 2]) << i;
}

}  // namespace
}  // namespace frugal::kernels
