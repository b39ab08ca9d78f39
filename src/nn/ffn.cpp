#include "nn/ffn.h"

#include "core/error.h"

namespace frugal {

DenseFfn::DenseFfn(int64_t hidden, int64_t inner, ParameterInfo info, bool bias)
    : gate_proj_(Linear(hidden, inner, bias, info).with(ops::Sensitivity::low)),
      up_proj_(Linear(hidden, inner, bias, info).with(ops::Sensitivity::low)),
      down_proj_(inner, hidden, bias, info) {}

Tensor DenseFfn::forward(Context& ctx, const Tensor& x, const Batch&) {
  const std::vector<Tensor> both = forward_all(ctx, x, {&gate_proj_, &up_proj_});
  return down_proj_.forward(ctx, ops::swiglu(ctx, both[0], both[1]));
}

void DenseFfn::visit(ParamVisitor& v, const std::string& name) {
  gate_proj_.visit(v, name + ".gate_proj");
  up_proj_.visit(v, name + ".up_proj");
  down_proj_.visit(v, name + ".down_proj");
}

Tensor GeluFfn::forward(Context& ctx, const Tensor& x, const Batch&) {
  return c_proj_.forward(ctx, ops::gelu(ctx, c_fc_.forward(ctx, x), ops::GeluForm::tanh));
}

void GeluFfn::visit(ParamVisitor& v, const std::string& name) {
  c_fc_.visit(v, name + ".c_fc");
  c_proj_.visit(v, name + ".c_proj");
}

MoeFfn::MoeFfn(const MoeConfig& c)
    : config_(c),
      router_(Tensor::declare({c.router.experts, c.hidden})),
      bias_(Tensor::declare({c.router.experts})) {
  for (int64_t e = 0; e < c.router.experts; ++e) {
    gate_.push_back(Tensor::declare({c.inner, c.hidden}));
    up_.push_back(Tensor::declare({c.inner, c.hidden}));
    down_.push_back(Tensor::declare({c.hidden, c.inner}));
    if (!c.biases) continue;
    gate_bias_.push_back(Tensor::declare({c.inner}));
    up_bias_.push_back(Tensor::declare({c.inner}));
    down_bias_.push_back(Tensor::declare({c.hidden}));
  }
  if (c.router_scale) scale_ = Tensor::declare({1, c.router.experts});
  if (c.biases) router_bias_ = Tensor::declare({c.router.experts});
  if (c.shared_inner > 0) {
    shared_ = std::make_unique<DenseFfn>(c.hidden, c.shared_inner, ParameterInfo{Role::matrix, 1, c.mtp});
    if (c.gated_shared) shared_gate_ = Linear(c.hidden, 1, false, {Role::router, 1, c.mtp});
  }
}

Tensor MoeFfn::forward(Context& ctx, const Tensor& x, const Batch& batch) {
  const ops::Experts experts{.gate = gate_,
                             .up = up_,
                             .down = down_,
                             .scale = scale_,
                             .gate_bias = gate_bias_,
                             .up_bias = up_bias_,
                             .down_bias = down_bias_,
                             .form = config_.form};
  const Tensor routed = ops::moe_ffn(ctx, x, router_, config_.has_bias ? bias_ : Tensor{}, experts,
                                     batch.offsets, config_.router, router_bias_);
  if (!shared_) return routed;
  Tensor shared = shared_->forward(ctx, x, batch);
  if (config_.gated_shared) shared = ops::sigmoid_gate(ctx, shared, shared_gate_.forward(ctx, x));
  return ops::add(ctx, routed, shared);
}

void MoeFfn::visit_experts(ParamVisitor& v, const std::string& name) {
  const ops::RouterOptions& r = config_.router;
  const double activity = static_cast<double>(r.top_k) / static_cast<double>(r.experts);
  for (size_t e = 0; e < gate_.size(); ++e) {
    const auto part = [&](std::string pattern, Tensor& weight, std::vector<Tensor>& biases) {
      const std::string full = name + pattern.replace(pattern.find("{}"), 2, std::to_string(e));
      v.parameter(full + ".weight", weight, {Role::expert, activity, config_.mtp});
      if (config_.biases) v.parameter(full + ".bias", biases[e], {Role::bias, activity, config_.mtp});
    };
    part(config_.names.gate, gate_[e], gate_bias_);
    part(config_.names.up, up_[e], up_bias_);
    part(config_.names.down, down_[e], down_bias_);
  }
}

void MoeFfn::visit(ParamVisitor& v, const std::string& name) {
  const std::string router = name + config_.names.router;
  v.parameter(router + ".weight", router_, {Role::router, 1, config_.mtp});
  if (config_.biases) v.parameter(router + ".bias", router_bias_, {Role::bias, 1, config_.mtp});
  if (config_.has_bias)
    v.parameter(router + ".e_score_correction_bias", bias_, {Role::buffer, 1, config_.mtp});
  if (config_.router_scale) v.parameter(name + ".router_scale", scale_, {Role::norm, 1, config_.mtp});
  visit_experts(v, name);
  if (shared_) shared_->visit(v, name + config_.shared_name);
  if (config_.gated_shared) shared_gate_.visit(v, name + ".shared_expert_gate");
}

}  // namespace frugal
