// Optimizers: how a gradient becomes an update. State is kept per parameter under its checkpoint name. Adding
// one: a file in optimizers/ and a line in the list of optimizer.cpp.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/fields.h"
#include "nn/module.h"

namespace frugal {

class Model;

struct OptimizerOptions {
  std::string name = "adamw";
  double lr = 1e-3;
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double momentum = 0.95;
  double clip = 1.0;

  void visit(FieldVisitor& v);
};
// UsageError when a value is out of its range or the name unknown.
void check(const OptimizerOptions& options);

// A tensor to be trained. `value` shares storage and gradient with the model's.
struct Parameter {
  std::string name;
  Tensor value;
  ParameterInfo info;

  // Decoupled decay is for what multiplies activations: norms and biases are left alone.
  bool decays() const { return value.shape().size() >= 2 && info.role != Role::norm; }
};
// Everything in the model that has a gradient, adapters beside its matrices included, in the order of the
// visit. Error when one is not f32.
std::vector<Parameter> trainable_parameters(Model& model);

// sqrt of the sum of squares of all gradients, times `scale`. The order of the sum is fixed.
double gradient_norm(const Context& ctx, std::span<const Parameter> parameters);

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Updates every parameter from its gradient times `gradient_scale`. A parameter without one is treated as
  // having zeros.
  virtual void step(const Context& ctx, double lr, double gradient_scale) = 0;
  // Every tensor of the state, by "PARAMETER@WHAT". All f32.
  virtual void visit_state(const std::function<void(const std::string& name, Tensor& value)>& body) = 0;
  // Updates done, for bias correction; part of the state.
  int64_t steps = 0;
};

struct OptimizerKind {
  std::string_view name, help;
  // State is allocated and zero.
  std::unique_ptr<Optimizer> (*create)(const Context& ctx, std::vector<Parameter> parameters,
                                       const OptimizerOptions& options);
};
std::span<const OptimizerKind> all_optimizers();
// UsageError that lists the known names.
const OptimizerKind& find_optimizer(std::string_view name);

// The entries of the list.
std::unique_ptr<Optimizer> make_adamw(const Context& ctx, std::vector<Parameter> parameters,
                                      const OptimizerOptions& options);
std::unique_ptr<Optimizer> make_muon(const Context& ctx, std::vector<Parameter> parameters,
                                     const OptimizerOptions& options);

}  // namespace frugal
