#include "nn/ffn.h"

#include "core/error.h"

namespace frugal {

DenseFfn::DenseFfn(int64_t hidden, int64_t inner, ParameterInfo info, bool bias)
    : gate_proj_(hidden, inner, bias, info),
      up_proj_(hidden, inner, bias, info),
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
  }
  if (c.shared_inner > 0) {
    shared_ = std::make_unique<DenseFfn>(c.hidden, c.shared_inner, ParameterInfo{Role::matrix, 1, c.mtp});
    if (c.gated_shared) shared_gate_ = Linear(c.hidden, 1, false, {Role::router, 1, c.mtp});
  }
}

Tensor MoeFfn::forward(Context& ctx, const Tensor& x, const Batch& batch) {
  const Tensor routed = ops::moe_ffn(ctx, x, router_, config_.has_bias ? bias_ : Tensor{},
                                     {gate_, up_, down_}, batch.offsets, config_.router);
  if (!shared_) return routed;
  Tensor shared = shared_->forward(ctx, x, batch);
  if (config_.gated_shared) shared = ops::sigmoid_gate(ctx, shared, shared_gate_.forward(ctx, x));
  return ops::add(ctx, routed, shared);
}

void MoeFfn::visit(ParamVisitor& v, const std::string& name) {
  const ops::RouterOptions& r = config_.router;
  v.parameter(name + ".gate.weight", router_, {Role::router, 1, config_.mtp});
  if (config_.has_bias)
    v.parameter(name + ".gate.e_score_correction_bias", bias_, {Role::buffer, 1, config_.mtp});
  const ParameterInfo info{Role::expert, static_cast<double>(r.top_k) / static_cast<double>(r.experts),
                           config_.mtp};
  for (size_t e = 0; e < gate_.size(); ++e) {
    const std::string expert = name + ".experts." + std::to_string(e);
    v.parameter(expert + ".gate_proj.weight", gate_[e], info);
    v.parameter(expert + ".up_proj.weight", up_[e], info);
    v.parameter(expert + ".down_proj.weight", down_[e], info);
  }
  if (shared_) shared_->visit(v, name + config_.shared_name);
  if (config_.gated_shared) shared_gate_.visit(v, name + ".shared_expert_gate");
}

}  // namespace frugal
