// Muon (Jordan et al. 2024) in the form of "Muon is Scalable for LLM Training" (Liu et al. 2025, §2,
// Moonlight):
//   m = mu m + g;  u = NewtonSchulz5(g + mu m);  w = w (1 - lr decay) - lr 0.2 sqrt(max(rows, cols)) u
// for matrices and experts; every other parameter has AdamW, with the same learning rate. Matrices of one
// shape, all experts of all layers among them, go through the iteration together as grouped GEMMs.
#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/gemm.h"
#include "kernels/rowwise.h"
#include "train/optimizer.h"

namespace frugal {
namespace {

constexpr int kIterations = 5;
constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;  // of the quintic a x + b x^3 + c x^5
constexpr float kTiny = 1e-7f;
constexpr double kUpdateRms = 0.2;         // what AdamW's updates have, so that one learning rate serves both
constexpr int64_t kGroupValues = 8 << 20;  // scratch of a group, unless one matrix alone needs more

struct Matrix {
  Parameter parameter;
  Tensor momentum;
};

// Floats of scratch for one matrix.
int64_t scratch_values(int64_t rows, int64_t cols) {
  const int64_t side = std::min(rows, cols);
  return 2 * rows * cols + 3 * side * side;
}

// x <- p(x), p the quintic over the singular values, for `count` matrices one behind the other. With the
// smaller side s: T = x x^T (or x^T x), B = T (b I + c T), x' = (a I + B) x (or x (a I + B), which spares the
// transposes).
class NewtonSchulz {
 public:
  // `scratch` has room for count * scratch_values(rows, cols) floats.
  NewtonSchulz(const Context& ctx, int64_t count, int64_t rows, int64_t cols, float* scratch)
      : ctx_(ctx), count_(count), rows_(rows), cols_(cols), side_(std::min(rows, cols)) {
    const auto take = [&](int64_t values) { return std::exchange(scratch, scratch + count * values); };
    x_ = take(rows * cols);
    next_ = take(rows * cols);
    gram_ = take(side_ * side_);
    left_ = take(side_ * side_);
    right_ = take(side_ * side_);
  }

  float* x(int64_t i) { return x_ + i * rows_ * cols_; }

  void run() {
    for (int iteration = 0; iteration < kIterations; ++iteration) {
      const bool wide = rows_ <= cols_;
      const int64_t inner = wide ? cols_ : rows_;
      multiply([&](int64_t i) {
        const int64_t out = wide ? cols_ : 1, in = wide ? 1 : cols_;
        return problem({side_, side_, inner}, {x(i), out, in}, {x(i), in, out}, at(gram_, i), side_);
      });
      affine(gram_, kC, kB, left_);
      multiply([&](int64_t i) {
        return problem({side_, side_, side_}, {at(gram_, i), side_, 1}, {at(left_, i), side_, 1},
                       at(right_, i), side_);
      });
      affine(right_, 1, kA, right_);
      multiply([&](int64_t i) {
        const Operand b{at(right_, i), side_, 1}, whole{x(i), cols_, 1};
        return problem({rows_, cols_, side_}, wide ? b : whole, wide ? whole : b, next(i), cols_);
      });
      std::swap(x_, next_);
    }
  }

 private:
  struct Size {
    int64_t m, n, k;
  };
  struct Operand {
    const float* data;
    int64_t row, col;
  };
  float* at(float* squares, int64_t i) const { return squares + i * side_ * side_; }
  float* next(int64_t i) { return next_ + i * rows_ * cols_; }

  static kernels::Gemm problem(Size size, Operand a, Operand b, float* c, int64_t c_row) {
    return {.m = size.m,
            .n = size.n,
            .k = size.k,
            .a = a.data,
            .a_row = a.row,
            .a_col = a.col,
            .b = b.data,
            .b_type = kernels::Element::f32,
            .b_row = b.row,
            .b_col = b.col,
            .c = c,
            .c_row = c_row,
            .accumulate = false};
  }
  template <class MakeProblem>
  void multiply(MakeProblem make) {
    std::vector<kernels::Gemm> problems;
    for (int64_t i = 0; i < count_; ++i) problems.push_back(make(i));
    kernels::gemm(ctx_.pool, ctx_.kernels, problems, kernels::Precision::f32);
  }
  // to = factor * from + diagonal * I, matrix by matrix.
  void affine(const float* from, float factor, float diagonal, float* to) {
    ctx_.pool.parallel_for(count_ * side_, std::max<int64_t>(1, 4096 / side_),
                           [&](int64_t begin, int64_t end, int) {
                             for (int64_t row = begin; row < end; ++row) {
                               const float* x = from + row * side_;
                               float* y = to + row * side_;
                               for (int64_t col = 0; col < side_; ++col) y[col] = factor * x[col];
                               y[row % side_] += diagonal;
                             }
                           });
  }

  const Context& ctx_;
  int64_t count_, rows_, cols_, side_;
  float *x_, *next_, *gram_, *left_, *right_;  // count matrices each
};

class Muon : public Optimizer {
 public:
  Muon(const Context& ctx, std::vector<Parameter> parameters, const OptimizerOptions& options)
      : options_(options) {
    std::vector<Parameter> rest;
    for (Parameter& parameter : parameters) {
      const Role role = parameter.info.role;
      const bool matrix =
          (role == Role::matrix || role == Role::expert) && parameter.value.shape().size() == 2;
      if (!matrix) {
        rest.push_back(std::move(parameter));
        continue;
      }
      const Shape shape = parameter.value.shape();
      groups_[{shape[0], shape[1]}].push_back({std::move(parameter), Tensor::zeros(ctx, shape)});
    }
    for (const auto& [shape, matrices] : groups_) {
      const size_t at_once = std::min(matrices.size(), group_size(shape.first, shape.second));
      scratch_ =
          std::max(scratch_, static_cast<int64_t>(at_once) * scratch_values(shape.first, shape.second));
    }
    adamw_ = make_adamw(ctx, std::move(rest), options);
  }

  void step(const Context& ctx, double lr, double gradient_scale) override {
    adamw_->steps = steps++;
    adamw_->step(ctx, lr, gradient_scale);
    if (groups_.empty()) return;
    Tensor scratch = Tensor::empty(ctx, {scratch_});
    const auto scale = static_cast<float>(gradient_scale);
    for (auto& [shape, matrices] : groups_) {
      const size_t at_once = group_size(shape.first, shape.second);
      for (size_t begin = 0; begin < matrices.size(); begin += at_once) {
        const size_t size = std::min(at_once, matrices.size() - begin);
        update(ctx, std::span(matrices).subspan(begin, size), lr, scale, scratch);
      }
    }
  }

  void visit_state(const std::function<void(const std::string&, Tensor&)>& body) override {
    for (auto& [shape, matrices] : groups_) {
      for (Matrix& matrix : matrices) body(matrix.parameter.name + "@momentum", matrix.momentum);
    }
    adamw_->visit_state(body);
  }

 private:
  // Matrices that go through the iteration at once.
  static size_t group_size(int64_t rows, int64_t cols) {
    return static_cast<size_t>(std::max<int64_t>(1, kGroupValues / scratch_values(rows, cols)));
  }

  void update(const Context& ctx, std::span<Matrix> matrices, double lr, float gradient_scale,
              Tensor& scratch) {
    const int64_t count = static_cast<int64_t>(matrices.size());
    const int64_t rows = matrices[0].momentum.dim(0), cols = matrices[0].momentum.dim(1), size = rows * cols;
    for (Matrix& matrix : matrices) matrix.parameter.value.gradient_sum(ctx);
    if (ctx.dry_run()) return;
    NewtonSchulz iteration(ctx, count, rows, cols, scratch.f32());
    const float mu = static_cast<float>(options_.momentum);
    ctx.pool.parallel_for(count, 1, [&](int64_t i, int64_t, int) {
      Matrix& matrix = matrices[static_cast<size_t>(i)];
      const float* g = matrix.parameter.value.gradient();
      float *m = matrix.momentum.f32(), *x = iteration.x(i);
      ctx.pool.parallel_for(size, 1 << 14, [&](int64_t begin, int64_t end, int) {
        for (int64_t j = begin; j < end; ++j) {
          const float scaled = g[j] * gradient_scale;
          m[j] = mu * m[j] + scaled;
          x[j] = scaled + mu * m[j];
        }
      });
      const double norm = std::sqrt(kernels::sum_of_squares(ctx.pool, ctx.kernels, size, x));
      kernels::scale(ctx.pool, ctx.kernels, size, 1 / (static_cast<float>(norm) + kTiny), x, x);
    });
    iteration.run();
    const float keep = static_cast<float>(1 - lr * options_.weight_decay);
    const double largest = static_cast<double>(std::max(rows, cols));
    const float rate = static_cast<float>(lr * kUpdateRms * std::sqrt(largest));
    ctx.pool.parallel_for(count, 1, [&](int64_t i, int64_t, int) {
      float* w = matrices[static_cast<size_t>(i)].parameter.value.f32();
      const float* u = iteration.x(i);
      ctx.pool.parallel_for(size, 1 << 14, [&](int64_t begin, int64_t end, int) {
        for (int64_t j = begin; j < end; ++j) w[j] = w[j] * keep - rate * u[j];
      });
    });
  }

  OptimizerOptions options_;
  std::map<std::pair<int64_t, int64_t>, std::vector<Matrix>> groups_;  // by shape
  std::unique_ptr<Optimizer> adamw_;
  int64_t scratch_ = 0;  // floats that the largest group needs
};

}  // namespace

std::unique_ptr<Optimizer> make_muon(const Context& ctx, std::vector<Parameter> parameters,
                                     const OptimizerOptions& options) {
  return std::make_unique<Muon>(ctx, std::move(parameters), options);
}

}  // namespace frugal
