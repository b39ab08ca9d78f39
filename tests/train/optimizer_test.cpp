#include "train/optimizer.h"

#include <cmath>
#include <map>

#include "train/fixtures.h"

namespace frugal {
namespace {

class OptimizerTest : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};

  Parameter parameter(const std::string& name, Shape shape, Role role, uint64_t seed) {
    Parameter p{name, Tensor::empty(ctx, std::move(shape)), {role}};
    Rng rng(seed);
    for (float& x : p.value.values()) x = static_cast<float>(rng.normal());
    p.value.require_gradient(true);
    return p;
  }
  void set_gradient(const Parameter& p, uint64_t seed) {
    p.value.zero_gradient();
    float* g = p.value.gradient_sum(ctx);
    Rng rng(seed);
    for (int64_t i = 0; i < p.value.size(); ++i) g[i] = static_cast<float>(rng.normal());
  }
};

using Matrix = std::vector<std::vector<double>>;

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<double>(b[0].size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < b[0].size(); ++j) {
      for (size_t k = 0; k < b.size(); ++k) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}

Matrix transpose(const Matrix& a) {
  Matrix t(a[0].size(), std::vector<double>(a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
  }
  return t;
}

// As the paper writes it: transpose when taller than wide, five times a X + b (X X^T) X + c (X X^T)^2 X.
Matrix newton_schulz(Matrix x) {
  const bool tall = x.size() > x[0].size();
  if (tall) x = transpose(x);
  double squares = 0;
  for (const auto& row : x) {
    for (const double v : row) squares += v * v;
  }
  for (auto& row : x) {
    for (double& v : row) v /= std::sqrt(squares) + 1e-7;
  }
  for (int step = 0; step < 5; ++step) {
    const Matrix gram = product(x, transpose(x)), gx = product(gram, x), ggx = product(gram, gx);
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t j = 0; j < x[0].size(); ++j)
        x[i][j] = 3.4445 * x[i][j] - 4.7750 * gx[i][j] + 2.0315 * ggx[i][j];
    }
  }
  return tall ? transpose(x) : x;
}

TEST_F(OptimizerTest, AdamWIsPyTorchs) {
  const OptimizerOptions options{.weight_decay = 0.1};
  Parameter matrix = parameter("w", {3, 5}, Role::matrix, 1), norm = parameter("n", {7}, Role::norm, 2);
  auto optimizer = make_adamw(ctx, {matrix, norm}, options);
  for (const Parameter& p : {matrix, norm}) {
    std::vector<double> w(p.value.values().begin(), p.value.values().end()), m(w.size()), v(w.size());
    auto alone = make_adamw(ctx, {p}, options);
    for (int step = 1; step <= 4; ++step) {
      set_gradient(p, static_cast<uint64_t>(10 + step));
      const float* g = p.value.gradient();
      for (size_t i = 0; i < w.size(); ++i) {
        const double scaled = 0.5 * g[i];
        if (p.decays()) w[i] *= 1 - 0.01 * 0.1;
        m[i] = 0.9 * m[i] + 0.1 * scaled;
        v[i] = 0.95 * v[i] + 0.05 * scaled * scaled;
        w[i] -=
            0.01 * (m[i] / (1 - std::pow(0.9, step))) / (std::sqrt(v[i] / (1 - std::pow(0.95, step))) + 1e-8);
      }
      alone->step(ctx, 0.01, 0.5);
      for (size_t i = 0; i < w.size(); ++i)
        EXPECT_NEAR(p.value.values()[i], w[i], 2e-6) << p.name << " step " << step;
    }
  }
}

TEST_F(OptimizerTest, AParameterWithoutGradientHasZeros) {
  for (const OptimizerKind& kind : all_optimizers()) {
    SCOPED_TRACE(kind.name);
    Parameter a = parameter("w", {4, 6}, Role::expert, 1), b = parameter("w", {4, 6}, Role::expert, 1);
    auto first = kind.create(ctx, {a}, {}), second = kind.create(ctx, {b}, {});
    for (int step = 0; step < 3; ++step) {
      a.value.zero_gradient();
      b.value.zero_gradient();
      if (step != 1) set_gradient(a, 5), set_gradient(b, 5);
      if (step == 1) std::fill_n(b.value.gradient_sum(ctx), 24, 0.0f);
      first->step(ctx, 0.01, 1);
      second->step(ctx, 0.01, 1);
    }
    for (size_t i = 0; i < 24; ++i) EXPECT_EQ(a.value.values()[i], b.value.values()[i]);
  }
}

TEST_F(OptimizerTest, MuonIsThePapersIteration) {
  for (const Shape& shape : {Shape{6, 11}, Shape{11, 6}, Shape{8, 8}, Shape{1, 5}}) {
    Parameter p = parameter("w", shape, Role::matrix, 3);
    auto optimizer = make_muon(ctx, {p}, {});
    const auto rows = static_cast<size_t>(shape[0]), cols = static_cast<size_t>(shape[1]);
    Matrix w(rows, std::vector<double>(cols)), momentum = w;
    for (size_t i = 0; i < rows * cols; ++i) w[i / cols][i % cols] = p.value.values()[i];
    for (uint64_t step = 0; step < 3; ++step) {
      set_gradient(p, step);
      Matrix direction(rows, std::vector<double>(cols));
      for (size_t i = 0; i < rows * cols; ++i) {
        double& m = momentum[i / cols][i % cols];
        m = 0.95 * m + 0.7 * p.value.gradient()[i];
        direction[i / cols][i % cols] = 0.7 * p.value.gradient()[i] + 0.95 * m;
      }
      direction = newton_schulz(direction);
      optimizer->step(ctx, 0.02, 0.7);
      for (size_t i = 0; i < rows * cols; ++i) {
        double& x = w[i / cols][i % cols];
        x = x * (1 - 0.02 * 0.1) -
            0.02 * 0.2 * std::sqrt(std::max(rows, cols)) * direction[i / cols][i % cols];
        EXPECT_NEAR(p.value.values()[i], x, 3e-6);
      }
    }
  }
}

TEST_F(OptimizerTest, MuonTakesMatricesAndExpertsTogether) {
  std::vector<Parameter> all, alone;
  for (uint64_t i = 0; i < 7; ++i) {
    const Role role = i < 2 ? Role::matrix : Role::expert;
    all.push_back(parameter("w" + std::to_string(i), {5, 9}, role, i));
    alone.push_back(parameter("w" + std::to_string(i), {5, 9}, role, i));
    set_gradient(all.back(), 50 + i);
    set_gradient(alone.back(), 50 + i);
  }
  make_muon(ctx, all, {})->step(ctx, 0.01, 1);
  for (size_t i = 0; i < all.size(); ++i) {
    make_muon(ctx, {alone[i]}, {})->step(ctx, 0.01, 1);
    for (size_t j = 0; j < 45; ++j) EXPECT_EQ(all[i].value.values()[j], alone[i].value.values()[j]);
  }
}

TEST_F(OptimizerTest, MuonLeavesTheRestToAdamW) {
  std::vector<Parameter> parameters = {
      parameter("matrix", {4, 4}, Role::matrix, 1), parameter("embedding", {9, 4}, Role::embedding, 2),
      parameter("head", {9, 4}, Role::head, 3),     parameter("router", {8, 4}, Role::router, 4),
      parameter("norm", {4}, Role::norm, 5),        parameter("bias", {4}, Role::bias, 6)};
  std::map<std::string, Shape> states;
  make_muon(ctx, parameters, {})->visit_state([&](const std::string& name, Tensor& t) {
    states[name] = t.shape();
  });
  EXPECT_EQ(states.size(), 11u);
  EXPECT_TRUE(states.contains("matrix@momentum"));
  EXPECT_FALSE(states.contains("matrix@m"));
  for (const char* name : {"embedding", "head", "router", "norm", "bias"}) {
    EXPECT_TRUE(states.contains(std::string(name) + "@m") && states.contains(std::string(name) + "@v"))
        << name;
  }
}

TEST_F(OptimizerTest, ThreadsChangeNothing) {
  for (const OptimizerKind& kind : all_optimizers()) {
    SCOPED_TRACE(kind.name);
    std::vector<float> results[2];
    double norms[2];
    for (const int threads : {1, 3}) {
      ThreadPool own(threads);
      Context context{own, kernels::best()};
      std::vector<Parameter> parameters = {parameter("a", {200, 130}, Role::matrix, 1),
                                           parameter("b", {64, 96}, Role::expert, 2),
                                           parameter("c", {300, 40}, Role::embedding, 3)};
      for (Parameter& p : parameters) set_gradient(p, 9);
      norms[threads / 2] = gradient_norm(context, parameters);
      auto optimizer = kind.create(context, parameters, {});
      for (int i = 0; i < 2; ++i) optimizer->step(context, 0.01, 1);
      for (Parameter& p : parameters) {
        results[threads / 2].insert(results[threads / 2].end(), p.value.values().begin(),
                                    p.value.values().end());
      }
    }
    EXPECT_TRUE(same_bits(results[0], results[1]));
    EXPECT_EQ(norms[0], norms[1]);
  }
}

TEST_F(OptimizerTest, GradientNormIsThatOfAll) {
  Parameter a = parameter("a", {3, 5}, Role::matrix, 1), b = parameter("b", {7}, Role::norm, 2);
  set_gradient(a, 1);
  double squares = 0;
  for (int i = 0; i < 15; ++i) squares += static_cast<double>(a.value.gradient()[i]) * a.value.gradient()[i];
  EXPECT_NEAR(gradient_norm(ctx, std::vector{a, b}), std::sqrt(squares), 1e-5);
}

TEST_F(OptimizerTest, FrozenAndQuantisedWeights) {
  auto model = tiny_model(ctx);
  const size_t all = trainable_parameters(*model).size();
  EachParameter freeze([](const std::string& name, Tensor& value, const ParameterInfo&) {
    if (name == "model.norm.weight") value.freeze();
    if (name == "model.embed_tokens.weight") value = Tensor::declare(value.shape(), formats::bf16);
  });
  model->visit(freeze);
  EXPECT_EQ(trainable_parameters(*model).size(), all - 2);
  EachParameter thaw([](const std::string& name, Tensor& value, const ParameterInfo&) {
    if (name == "model.embed_tokens.weight") value.require_gradient(true);
  });
  model->visit(thaw);
  EXPECT_THROW(trainable_parameters(*model), Error);
}

TEST(Optimizer, BadOptionsAreNamed) {
  EXPECT_THROW(check(OptimizerOptions{.name = "adam"}), UsageError);
  EXPECT_THROW(check(OptimizerOptions{.lr = -1}), UsageError);
  EXPECT_THROW(check(OptimizerOptions{.lr = std::nan("")}), UsageError);
  EXPECT_THROW(check(OptimizerOptions{.beta2 = 1}), UsageError);
  EXPECT_NO_THROW(check(OptimizerOptions{}));
}

}  // namespace
}  // namespace frugal
