// AdamW (Loshchilov & Hutter 2019), as PyTorch computes it: the formula is in kernels/rowwise_args.h.
#include <cmath>

#include "kernels/rowwise.h"
#include "train/optimizer.h"

namespace frugal {
namespace {

class AdamW : public Optimizer {
 public:
  AdamW(const Context& ctx, std::vector<Parameter> parameters, const OptimizerOptions& options)
      : options_(options) {
    for (Parameter& parameter : parameters) {
      const Shape shape = parameter.value.shape();
      states_.push_back({std::move(parameter), Tensor::zeros(ctx, shape), Tensor::zeros(ctx, shape)});
    }
  }

  void step(const Context& ctx, double lr, double gradient_scale) override {
    ++steps;
    kernels::AdamW args{.lr = static_cast<float>(lr),
                        .beta1 = static_cast<float>(options_.beta1),
                        .beta2 = static_cast<float>(options_.beta2),
                        .eps = static_cast<float>(options_.eps),
                        .weight_decay = 0,
                        .bias1 = static_cast<float>(1 - std::pow(options_.beta1, static_cast<double>(steps))),
                        .bias2 = static_cast<float>(1 - std::pow(options_.beta2, static_cast<double>(steps))),
                        .grad_scale = static_cast<float>(gradient_scale)};
    for (State& state : states_) {
      const float* gradient = state.parameter.value.gradient_sum(ctx);
      if (ctx.dry_run()) continue;
      args.weight_decay = state.parameter.decays() ? static_cast<float>(options_.weight_decay) : 0.0f;
      kernels::adamw_update(ctx.pool, ctx.kernels, args, state.parameter.value.size(), gradient,
                            state.parameter.value.f32(), state.m.f32(), state.v.f32());
    }
  }

  void visit_state(const std::function<void(const std::string&, Tensor&)>& body) override {
    for (State& state : states_) {
      body(state.parameter.name + "@m", state.m);
      body(state.parameter.name + "@v", state.v);
    }
  }

 private:
  struct State {
    Parameter parameter;
    Tensor m, v;
  };
  OptimizerOptions options_;
  std::vector<State> states_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(const Context& ctx, std::vector<Parameter> parameters,
                                      const OptimizerOptions& options) {
  return std::make_unique<AdamW>(ctx, std::move(parameters), options);
}

}  // namespace frugal
