#include "train/optimizer.h"

#include <fmt/ranges.h>

#include <cmath>

#include "core/error.h"
#include "kernels/rowwise.h"
#include "models/model.h"
#include "nn/adapter.h"

namespace frugal {
namespace {

constexpr OptimizerKind kOptimizers[] = {
    {"adamw", "AdamW for every parameter", make_adamw},
    {"muon", "Muon for matrices and experts, AdamW for embedding, head, router, norms and biases", make_muon},
};

std::vector<std::string_view> names() {
  std::vector<std::string_view> list;
  for (const OptimizerKind& kind : kOptimizers) list.push_back(kind.name);
  return list;
}

}  // namespace

void OptimizerOptions::visit(FieldVisitor& v) {
  v.field("name", name, "adamw or muon");
  v.field("lr", lr, "peak learning rate");
  v.field("weight_decay", weight_decay, "decoupled, for tensors of two and more dimensions");
  v.field("beta1", beta1, "AdamW: decay of the mean of gradients");
  v.field("beta2", beta2, "AdamW: decay of the mean of their squares");
  v.field("eps", eps, "AdamW: added to the root of the mean square");
  v.field("momentum", momentum, "Muon: Nesterov momentum");
  v.field("clip", clip, "largest global norm of a gradient; 0 for no limit");
}

void check(const OptimizerOptions& options) {
  find_optimizer(options.name);
  const auto range = [](const char* name, double value, double low, double high) {
    if (!(value >= low && value <= high)) {
      fail_usage("train.optimizer.{} = {}: expected a number from {} to {}", name, value, low, high);
    }
  };
  range("lr", options.lr, 0, 10);
  range("weight_decay", options.weight_decay, 0, 10);
  range("beta1", options.beta1, 0, 0.99999);
  range("beta2", options.beta2, 0, 0.99999);
  range("eps", options.eps, 0, 1);
  range("momentum", options.momentum, 0, 0.99999);
  range("clip", options.clip, 0, 1e9);
}

std::vector<Parameter> trainable_parameters(Model& model) {
  std::vector<Parameter> list;
  EachParameter visitor([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (value.low_rank() != nullptr) {
      visit_tensors(*value.low_rank(), [&](std::string_view what, const Tensor& tensor) {
        const Role role = tensor.shape().size() > 1 ? Role::matrix : Role::norm;
        if (tensor.needs_gradient()) list.push_back({fmt::format("{}@{}", name, what), tensor, {role}});
      });
    }
    if (!value.needs_gradient()) return;
    if (!value.is_f32()) {
      fail("{} is stored as {}; training updates f32 weights: load the model as f32", name,
           value.format().name);
    }
    list.push_back({name, value, info});
  });
  model.visit(visitor);
  return list;
}

double gradient_norm(const Context& ctx, std::span<const Parameter> parameters) {
  double squares = 0;
  for (const Parameter& parameter : parameters) {
    if (ctx.dry_run() || !parameter.value.has_gradient()) continue;
    squares +=
        kernels::sum_of_squares(ctx.pool, ctx.kernels, parameter.value.size(), parameter.value.gradient());
  }
  return std::sqrt(squares);
}

std::span<const OptimizerKind> all_optimizers() {
  return kOptimizers;
}

const OptimizerKind& find_optimizer(std::string_view name) {
  for (const OptimizerKind& kind : kOptimizers) {
    if (kind.name == name) return kind;
  }
  fail_usage("train.optimizer.name = '{}': expected one of {}", name, fmt::join(names(), ", "));
}

}  // namespace frugal
