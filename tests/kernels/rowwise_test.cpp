// Row-wise kernels against their formulas in double, on odd sizes, every instruction set and several thread
// counts.
#include "kernels/rowwise.h"

#include <functional>

#include "kernels/arrays.h"
#include "kernels/for_each_table.h"

namespace frugal::kernels {
namespace {

constexpr double kTolerance = 2e-6;

// Runs body(pool, table) for every table with 1, 2 and 5 threads; what it returns must not depend on the
// threads.
void for_each_pool(const std::function<std::vector<Floats>(ThreadPool&, const Table&)>& body) {
  for_each_table([&](const Table& table) {
    std::vector<Floats> first;
    for (const int threads : {1, 2, 5}) {
      SCOPED_TRACE(threads);
      ThreadPool pool(threads);
      auto result = body(pool, table);
      if (first.empty()) first = result;
      for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(same_bits(first[i], result[i])) << "array " << i;
    }
  });
}

struct Shape {
  int64_t rows, dim;
};
const Shape kShapes[] = {{1, 1}, {3, 7}, {5, 16}, {2, 65}, {67, 100}, {130, 384}, {0, 8}};

TEST(RmsNorm, MatchesItsFormulaAndGradient) {
  for (const auto [rows, dim] : kShapes) {
    for (const bool weighted : {true, false}) {
      const int64_t stride = dim + 3;  // rows of a wider array
      const Floats x = random_floats(rows * stride, 1), dy = random_floats(rows * dim, 2);
      const Floats weight = random_floats(dim, 3), before = random_floats(rows * dim, 4);
      Doubles y, dx, dweight(index_of(dim), 1.0);
      for (int64_t r = 0; r < rows; ++r) {
        double squares = 0, dot = 0;
        const auto w = [&](int64_t i) { return weighted ? double{weight[index_of(i)]} : 1.0; };
        const auto at = [&](int64_t i) { return double{x[index_of(r * stride + i)]}; };
        const auto grad = [&](int64_t i) { return double{dy[index_of(r * dim + i)]}; };
        for (int64_t i = 0; i < dim; ++i) squares += at(i) * at(i), dot += grad(i) * w(i) * at(i);
        const double inv = 1 / std::sqrt(squares / static_cast<double>(dim) + 1e-6);
        for (int64_t i = 0; i < dim; ++i) {
          y.push_back(at(i) * inv * w(i));
          dx.push_back(double{before[index_of(r * dim + i)]} + grad(i) * w(i) * inv -
                       at(i) * inv * inv * inv * dot / static_cast<double>(dim));
          dweight[index_of(i)] += grad(i) * at(i) * inv;
        }
      }
      for_each_pool([&](ThreadPool& pool, const Table& table) {
        Floats got(y.size()), inv(index_of(rows)), got_dx = before, got_dweight(index_of(dim), 1.0f);
        const float* w = weighted ? weight.data() : nullptr;
        rms_norm_forward(pool, table,
                         {.rows = rows,
                          .dim = dim,
                          .x = x.data(),
                          .x_row = stride,
                          .weight = w,
                          .eps = 1e-6f,
                          .y = got.data(),
                          .inv_rms = inv.data()});
        rms_norm_backward(pool, table,
                          {.rows = rows,
                           .dim = dim,
                           .dy = dy.data(),
                           .x = x.data(),
                           .x_row = stride,
                           .weight = w,
                           .inv_rms = inv.data(),
                           .dx = got_dx.data(),
                           .accumulate = true,
                           .dweight = got_dweight.data()});
        expect_near(got, y, kTolerance, "y");
        expect_near(got_dx, dx, kTolerance * 4, "dx");
        expect_near(got_dweight, dweight, kTolerance, "dweight");
        return std::vector{got, got_dx, got_dweight};
      });
    }
  }
}

TEST(RmsNorm, OverwritesUnlessToldToAdd) {
  for_each_table([](const Table& table) {
    ThreadPool pool(1);
    const Floats x = random_floats(10, 1), dy = random_floats(10, 2), inv = {0.5f, 0.25f};
    Floats dx(10, 100.0f), added(10, 100.0f);
    RmsNormGrad args{
        .rows = 2, .dim = 5, .dy = dy.data(), .x = x.data(), .inv_rms = inv.data(), .dx = dx.data()};
    rms_norm_backward(pool, table, args);
    args.dx = added.data();
    args.accumulate = true;
    rms_norm_backward(pool, table, args);
    for (size_t i = 0; i < 10; ++i) EXPECT_NEAR(dx[i] + 100.0f, added[i], 1e-4f);
  });
}

TEST(LayerNorm, MatchesItsFormulaAndGradient) {
  for (const auto [rows, dim] : kShapes) {
    const Floats x = random_floats(rows * dim, 1), dy = random_floats(rows * dim, 2);
    const Floats weight = random_floats(dim, 3), bias = random_floats(dim, 4);
    Doubles y, dx, dweight(index_of(dim)), dbias(index_of(dim));
    for (int64_t r = 0; r < rows; ++r) {
      const auto at = [&](int64_t i) { return double{x[index_of(r * dim + i)]}; };
      const auto grad = [&](int64_t i) {
        return double{dy[index_of(r * dim + i)]} * double{weight[index_of(i)]};
      };
      const auto n = static_cast<double>(dim);
      double mean = 0, variance = 0, sum = 0, dot = 0;
      for (int64_t i = 0; i < dim; ++i) mean += at(i) / n;
      for (int64_t i = 0; i < dim; ++i) variance += (at(i) - mean) * (at(i) - mean) / n;
      const double inv = 1 / std::sqrt(variance + 1e-5);
      for (int64_t i = 0; i < dim; ++i) sum += grad(i), dot += grad(i) * (at(i) - mean) * inv;
      for (int64_t i = 0; i < dim; ++i) {
        const double normal = (at(i) - mean) * inv;
        y.push_back(normal * double{weight[index_of(i)]} + double{bias[index_of(i)]});
        dx.push_back(inv * (grad(i) - sum / n - normal * dot / n));
        dweight[index_of(i)] += double{dy[index_of(r * dim + i)]} * normal;
        dbias[index_of(i)] += double{dy[index_of(r * dim + i)]};
      }
    }
    for_each_pool([&](ThreadPool& pool, const Table& table) {
      Floats got(y.size()), mean(index_of(rows)), inv(index_of(rows)), got_dx(dx.size(), 7.0f);
      Floats got_dweight(index_of(dim)), got_dbias(index_of(dim));
      layer_norm_forward(pool, table,
                         {.rows = rows,
                          .dim = dim,
                          .x = x.data(),
                          .weight = weight.data(),
                          .bias = bias.data(),
                          .eps = 1e-5f,
                          .y = got.data(),
                          .mean = mean.data(),
                          .inv_std = inv.data()});
      layer_norm_backward(pool, table,
                          {.rows = rows,
                           .dim = dim,
                           .dy = dy.data(),
                           .x = x.data(),
                           .weight = weight.data(),
                           .mean = mean.data(),
                           .inv_std = inv.data(),
                           .dx = got_dx.data(),
                           .dweight = got_dweight.data(),
                           .dbias = got_dbias.data()});
      if (dim > 1) expect_near(got_dx, dx, 1e-5, "dx");  // dim 1: inv_std is 316, the gradient 0
      expect_near(got, y, kTolerance, "y");
      expect_near(got_dweight, dweight, kTolerance * 2, "dweight");
      expect_near(got_dbias, dbias, kTolerance, "dbias");
      return std::vector{got, got_dx, got_dweight, got_dbias};
    });
  }
}

TEST(SumRows, AddsInChunks) {
  const int64_t rows = 131, cols = 37, stride = 40;
  const Floats x = random_floats(rows * stride, 5);
  Doubles want(index_of(cols), 2.0);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) want[index_of(c)] += double{x[index_of(r * stride + c)]};
  }
  for_each_pool([&](ThreadPool& pool, const Table& table) {
    Floats y(index_of(cols), 2.0f);
    sum_rows(pool, table, rows, cols, x.data(), stride, y.data());
    expect_near(y, want, kTolerance, "y");
    return std::vector<Floats>{y};
  });
}

TEST(Rope, RotatesPairsAndBack) {
  const int64_t rows = 9, heads = 3, positions = 20;
  for (const int64_t dim : {2, 6, 32, 64, 300}) {
    for (const Pairing pairing : {Pairing::interleaved, Pairing::halves}) {
      const int64_t head_stride = dim + 5, row_stride = heads * head_stride + 2;
      Floats table_of_angles;
      for (int64_t i = 0; i < positions * dim / 2; ++i) {
        table_of_angles.push_back(std::cos(static_cast<float>(i)));
        table_of_angles.push_back(std::sin(static_cast<float>(i)));
      }
      const std::vector<int32_t> at = {0, 19, 3, 3, 7, 1, 12, 5, 2};
      const Floats x = random_floats(rows * row_stride, 6);
      Doubles want(x.begin(), x.end());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t i = 0; i < dim / 2; ++i) {
            const int64_t base = r * row_stride + h * head_stride;
            const int64_t first = base + (pairing == Pairing::halves ? i : 2 * i);
            const int64_t second = base + (pairing == Pairing::halves ? i + dim / 2 : 2 * i + 1);
            const auto angle = index_of(at[index_of(r)] * dim + 2 * i);
            const double c = double{table_of_angles[angle]}, s = double{table_of_angles[angle + 1]};
            const double a = double{x[index_of(first)]}, b = double{x[index_of(second)]};
            want[index_of(first)] = a * c - b * s;
            want[index_of(second)] = a * s + b * c;
          }
        }
      }
      for_each_pool([&](ThreadPool& pool, const Table& table) {
        Floats y = x;
        Rope args{.rows = rows,
                  .heads = heads,
                  .dim = dim,
                  .x = y.data(),
                  .row_stride = row_stride,
                  .head_stride = head_stride,
                  .cos_sin = table_of_angles.data(),
                  .positions = at.data(),
                  .pairing = pairing};
        rope_apply(pool, table, args);
        expect_near(y, want, kTolerance, "rotated");
        Floats back = y;
        args.x = back.data();
        args.inverse = true;
        rope_apply(pool, table, args);
        expect_near(back, Doubles(x.begin(), x.end()), kTolerance, "turned back");
        return std::vector{y, back};
      });
    }
  }
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

TEST(Swiglu, MatchesItsFormulaAndGradient) {
  for (const auto [rows, cols] : kShapes) {
    const int64_t fused = 2 * cols;  // gate and up as halves of one array
    Floats x = random_floats(rows * fused, 7, 3.0);
    if (rows > 2) x[0] = 200.0f, x[1] = -200.0f, x[2] = -88.0f;
    const Floats dout = random_floats(rows * cols, 8);
    Doubles out, dx(x.size());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const auto gate_at = index_of(r * fused + c), up_at = index_of(r * fused + cols + c);
        const double g = double{x[gate_at]}, u = double{x[up_at]}, s = sigmoid(g);
        const double d = double{dout[index_of(r * cols + c)]};
        out.push_back(g * s * u);
        dx[gate_at] = d * u * s * (1 + g * (1 - s));
        dx[up_at] = d * g * s;
      }
    }
    for_each_pool([&](ThreadPool& pool, const Table& table) {
      Floats got(out.size()), got_dx = x;  // the gradient may replace its inputs
      swiglu_forward(pool, table,
                     {.rows = rows,
                      .cols = cols,
                      .gate = x.data(),
                      .gate_row = fused,
                      .up = x.data() + cols,
                      .up_row = fused,
                      .out = got.data()});
      swiglu_backward(pool, table,
                      {.rows = rows,
                       .cols = cols,
                       .gate = got_dx.data(),
                       .gate_row = fused,
                       .up = got_dx.data() + cols,
                       .up_row = fused,
                       .dout = dout.data(),
                       .dgate = got_dx.data(),
                       .dgate_row = fused,
                       .dup = got_dx.data() + cols,
                       .dup_row = fused});
      expect_near(got, out, kTolerance, "out");
      expect_near(got_dx, dx, kTolerance, "dx");
      return std::vector{got, got_dx};
    });
  }
}

TEST(Swiglu, ClampedFormMatchesItsFormulaAndGradient) {
  constexpr double kLimit = 2.5, kAlpha = 1.702;
  for (const auto [rows, cols] : kShapes) {
    Floats gate = random_floats(rows * cols, 7, 3.0), up = random_floats(rows * cols, 9, 3.0);
    if (!gate.empty()) gate[0] = up[0] = 2.5f;  // on the limit: clamped to itself, with its gradient
    if (gate.size() > 2) gate[1] = 200.0f, gate[2] = -200.0f, up[1] = -200.0f, up[2] = -2.5f;
    const Floats dout = random_floats(rows * cols, 8);
    Doubles out, dgate, dup;
    for (size_t i = 0; i < gate.size(); ++i) {
      const double g = std::min(double{gate[i]}, kLimit), u = std::clamp(double{up[i]}, -kLimit, kLimit);
      const double s = sigmoid(kAlpha * g), d = double{dout[i]};
      out.push_back(g * s * (u + 1));
      dgate.push_back(double{gate[i]} > kLimit ? 0 : d * (u + 1) * s * (1 + kAlpha * g * (1 - s)));
      dup.push_back(std::abs(double{up[i]}) > kLimit ? 0 : d * g * s);
    }
    for_each_pool([&](ThreadPool& pool, const Table& table) {
      Floats got(out.size()), got_dgate = gate, got_dup = up;  // the gradients may replace the inputs
      swiglu_forward(pool, table,
                     {.rows = rows,
                      .cols = cols,
                      .gate = gate.data(),
                      .up = up.data(),
                      .out = got.data(),
                      .limit = static_cast<float>(kLimit),
                      .alpha = static_cast<float>(kAlpha)});
      swiglu_backward(pool, table,
                      {.rows = rows,
                       .cols = cols,
                       .gate = got_dgate.data(),
                       .up = got_dup.data(),
                       .dout = dout.data(),
                       .dgate = got_dgate.data(),
                       .dup = got_dup.data(),
                       .limit = static_cast<float>(kLimit),
                       .alpha = static_cast<float>(kAlpha)});
      expect_near(got, out, kTolerance, "out");
      expect_near(got_dgate, dgate, kTolerance, "dgate");
      expect_near(got_dup, dup, kTolerance, "dup");
      return std::vector{got, got_dgate, got_dup};
    });
  }
}

double gelu(Gelu form, double x) {
  const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  return form == Gelu::erf ? 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))) : 0.5 * x * (1 + std::tanh(u));
}

TEST(GeluTest, MatchesItsFormulaAndGradient) {
  for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
    Floats x = random_floats(1003, 9, 2.0);
    x[0] = 0, x[1] = 50, x[2] = -50, x[3] = -1e-20f;
    const Floats dy = random_floats(1003, 10);
    Doubles y, dx;
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = double{x[i]}, h = 1e-5;
      y.push_back(gelu(form, v));
      dx.push_back(double{dy[i]} * (gelu(form, v + h) - gelu(form, v - h)) / (2 * h));
    }
    for_each_pool([&](ThreadPool& pool, const Table& table) {
      Floats got(x.size()), got_dx(x.size());
      gelu_forward(pool, table, form, 1003, x.data(), got.data());
      gelu_backward(pool, table, form, 1003, x.data(), dy.data(), got_dx.data());
      for (size_t i = 0; i < x.size(); ++i) {  // absolute: the array holds a 50
        EXPECT_NEAR(double{got[i]}, y[i], 1e-6 * (1 + std::abs(y[i]))) << x[i];
        EXPECT_NEAR(double{got_dx[i]}, dx[i], 2e-6 * (1 + std::abs(dx[i]))) << x[i];
      }
      return std::vector{got, got_dx};
    });
  }
}

}  // namespace
}  // namespace frugal::kernels
