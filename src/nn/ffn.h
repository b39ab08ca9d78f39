// Feed-forward modules: dense SwiGLU and DeepSeekMoE (Dai et al. 2024): routed experts beside shared ones.
#pragma once

#include <memory>
#include <vector>

#include "nn/batch.h"
#include "nn/module.h"

namespace frugal {

class FfnModule {
 public:
  virtual ~FfnModule() = default;
  virtual Tensor forward(Context& ctx, const Tensor& x, const Batch& batch) = 0;  // (R, D) -> (R, D)
  virtual void visit(ParamVisitor& v, const std::string& name) = 0;
  virtual Tensor* routing_bias() { return nullptr; }  // (E), null when nothing is to be balanced
  virtual void set_layout(const WeightLayout& layout) { (void)layout; }
};

class DenseFfn : public FfnModule {
 public:
  DenseFfn(int64_t hidden, int64_t inner, ParameterInfo info = {}, bool bias = false);
  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch) override;
  void visit(ParamVisitor& v, const std::string& name) override;

 private:
  Linear gate_proj_, up_proj_, down_proj_;
};

// GPT-2's: two Conv1D layers with GELU (tanh) between.
class GeluFfn : public FfnModule {
 public:
  GeluFfn(int64_t hidden, int64_t inner)
      : c_fc_(Linear::conv1d(hidden, inner).with(ops::Sensitivity::low)),
        c_proj_(Linear::conv1d(inner, hidden)) {}
  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch) override;
  void visit(ParamVisitor& v, const std::string& name) override;
  void set_layout(const WeightLayout& layout) override {
    c_fc_.set_layout(layout);
    c_proj_.set_layout(layout);
  }

 private:
  Linear c_fc_, c_proj_;
};

// What the parts of a mixture of experts are called in checkpoints; {} stands for the expert.
struct MoeNames {
  const char* router = ".gate";
  const char* gate = ".experts.{}.gate_proj";
  const char* up = ".experts.{}.up_proj";
  const char* down = ".experts.{}.down_proj";
};

struct MoeConfig {
  int64_t hidden, inner;  // inner: width of one routed expert
  int64_t shared_inner;   // width of the shared expert, 0 for none
  ops::RouterOptions router;
  bool has_bias = true;       // e_score_correction_bias
  bool gated_shared = false;  // the shared expert is scaled by a sigmoid of its own (Qwen2-MoE)
  const char* shared_name = ".shared_experts";
  bool mtp = false;
  bool router_scale = false;  // a learnt factor of each expert's weight (Pangu Pro MoE)
  bool biases = false;        // on the router and on every expert's three matrices (gpt-oss)
  ops::SwigluForm form = {};
  MoeNames names = {};
};

class MoeFfn : public FfnModule {
 public:
  explicit MoeFfn(const MoeConfig& config);
  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch) override;
  void visit(ParamVisitor& v, const std::string& name) override;
  Tensor* routing_bias() override { return config_.has_bias ? &bias_ : nullptr; }

 private:
  void visit_experts(ParamVisitor& v, const std::string& name);

  MoeConfig config_;
  Tensor router_, bias_, scale_, router_bias_;
  std::vector<Tensor> gate_, up_, down_;
  std::vector<Tensor> gate_bias_, up_bias_, down_bias_;
  std::unique_ptr<DenseFfn> shared_;
  Linear shared_gate_;
};

}  // namespace frugal
