#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

Tensor copy_of(const Context& ctx, const Tensor& t) {
  return Tensor::from(ctx, t.shape(), t.values());
}

double loss_of(const std::vector<Tensor>& outputs, const std::vector<Tensor>& weights) {
  double sum = 0;
  for (size_t o = 0; o < outputs.size(); ++o) {
    for (int64_t i = 0; i < outputs[o].size(); ++i) {
      sum += static_cast<double>(outputs[o].f32()[i]) * static_cast<double>(weights[o].f32()[i]);
    }
  }
  return sum;
}

}  // namespace

Tensor random_tensor(const Context& ctx, Shape shape, uint64_t seed, double std, double mean) {
  Tensor t = Tensor::empty(ctx, std::move(shape));
  Rng rng(seed);
  for (float& x : t.values()) x = static_cast<float>(mean + std * rng.normal());
  return t;
}

GradientCheck check_gradients(
    Context& ctx, std::vector<Tensor> inputs,
    const std::function<std::vector<Tensor>(Context&, const std::vector<Tensor>&)>& f, double step) {
  // Ops may work in place, so every evaluation gets copies.
  const auto fresh = [&](bool gradients) {
    std::vector<Tensor> copies;
    for (const Tensor& t : inputs) {
      copies.push_back(copy_of(ctx, t));
      if (gradients) copies.back().require_gradient(true);
    }
    return copies;
  };
  Tape tape;
  ctx.tape = &tape;
  const std::vector<Tensor> leaves = fresh(true);
  const std::vector<Tensor> outputs = f(ctx, leaves);
  std::vector<Tensor> weights;
  for (size_t o = 0; o < outputs.size(); ++o) {
    weights.push_back(random_tensor(ctx, outputs[o].shape(), 1000 + o));
    Tape::seed(ctx, outputs[o], weights[o].values());
  }
  tape.backward(ctx);
  ctx.tape = nullptr;

  GradientCheck result;
  for (size_t n = 0; n < inputs.size(); ++n) {
    std::vector<double> numeric(static_cast<size_t>(inputs[n].size()));
    double largest = 1e-3;
    for (int64_t i = 0; i < inputs[n].size(); ++i) {
      double side[2];
      for (const int k : {0, 1}) {
        std::vector<Tensor> copies = fresh(false);
        copies[n].f32()[i] += static_cast<float>(k == 0 ? step : -step);
        side[k] = loss_of(f(ctx, copies), weights);
      }
      numeric[static_cast<size_t>(i)] = (side[0] - side[1]) / (2 * step);
      largest = std::max(largest, std::abs(numeric[static_cast<size_t>(i)]));
    }
    CHECK(leaves[n].has_gradient(), "input {} got no gradient", n);
    for (int64_t i = 0; i < inputs[n].size(); ++i) {
      const double error = std::abs(leaves[n].gradient()[i] - numeric[static_cast<size_t>(i)]) / largest;
      if (!(error <= result.worst)) {
        result.worst = error;
        result.where = fmt::format("input {} value {}: {} against {}", n, i, leaves[n].gradient()[i],
                                   numeric[static_cast<size_t>(i)]);
      }
    }
  }
  return result;
}

}  // namespace frugal
