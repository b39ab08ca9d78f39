// Checks an op's backward against central differences.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace frugal {

struct GradientCheck {
  double worst = 0;   // largest |analytic - numeric| over the largest |numeric| of that input
  std::string where;  // which input and index
};

// Loss = sum over outputs of r . f(inputs), r fixed random numbers. Perturbs every value of every input by
// `step`.
GradientCheck check_gradients(
    Context& ctx, std::vector<Tensor> inputs,
    const std::function<std::vector<Tensor>(Context&, const std::vector<Tensor>&)>& f, double step = 1e-2);

// N(0, std), reproducible.
Tensor random_tensor(const Context& ctx, Shape shape, uint64_t seed, double std = 1, double mean = 0);

}  // namespace frugal
