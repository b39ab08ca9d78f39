// Modules visit their parameters once, by HF checkpoint name; init, load, save, optimizer groups, counting,
// quantising and adapters follow from the visit.
#pragma once

#include <string>

#include "autograd/ops.h"
#include "tensor/tensor.h"

namespace frugal {

// What a parameter is: decides initialisation, weight decay, which optimizer takes it, and how it counts.
enum class Role {
  matrix,     // a weight of a matrix product
  expert,     // the same, of a routed expert
  embedding,  // looked up by token
  head,       // projects to the vocabulary
  router,     // scores experts
  norm,       // scale of a norm, starts at one
  bias,       // starts at zero
  buffer,     // saved, not optimised (the routing bias)
};

struct ParameterInfo {
  Role role = Role::matrix;
  double activity = 1;      // share of tokens that use it: top_k / experts for a routed expert
  bool mtp = false;         // belongs to a multi-token-prediction module, counted apart
  bool transposed = false;  // the matrix is (in, out)
};

class ParamVisitor {
 public:
  virtual ~ParamVisitor() = default;
  virtual void parameter(const std::string& name, Tensor& value, const ParameterInfo& info) = 0;
  // `name` is stored under `target` (a tied head): not a parameter of its own.
  virtual void alias(const std::string& name, const std::string& target) { (void)name, (void)target; }
  // Files may hold modules that the model leaves out: "PREFIXi." with i from `first` on, where there is a
  // tensor "PREFIXi" + mark (MTP modules beyond those that the config asks for).
  virtual void spare_modules(const std::string& prefix, int64_t first, const std::string& mark) {
    (void)prefix, (void)first, (void)mark;
  }
};

// Calls a function for every parameter: the visitor for one-off uses.
template <class F>
class EachParameter : public ParamVisitor {
 public:
  explicit EachParameter(F f) : f_(std::move(f)) {}
  void parameter(const std::string& name, Tensor& value, const ParameterInfo& info) override {
    f_(name, value, info);
  }

 private:
  F f_;
};

// How matrices lie where that is not Hugging Face's way: as GGUF files have them, so that they stay mapped.
struct WeightLayout {
  bool adjacent_pairs = false;  // rows of q and k: rotated pairs stand together (else half a head apart)
  bool outputs_first = false;   // Conv1D matrices are (out, in)
  bool operator==(const WeightLayout&) const = default;
};

struct Linear {
  Tensor weight;  // (out, in), or (in, out) when transposed
  Tensor bias;    // (out) or empty
  ParameterInfo info;
  bool transposed = false;  // GPT-2's Conv1D layout
  ops::Sensitivity sensitivity = ops::Sensitivity::medium;

  Linear() = default;
  Linear(int64_t in, int64_t out, bool with_bias = false, ParameterInfo parameter = {})
      : weight(Tensor::declare({out, in})), info(parameter) {
    if (with_bias) bias = Tensor::declare({out});
  }
  static Linear conv1d(int64_t in, int64_t out) {
    Linear l(out, in);
    l.bias = Tensor::declare({out});
    l.transposed = true;
    return l;
  }
  Linear with(ops::Sensitivity of_input) && {
    sensitivity = of_input;
    return std::move(*this);
  }
  void set_layout(const WeightLayout& layout) {
    if (!transposed || !layout.outputs_first) return;
    weight = Tensor::declare({weight.dim(1), weight.dim(0)});
    transposed = false;
  }
  Tensor forward(Context& ctx, const Tensor& x) const {
    return transposed ? ops::linear_transposed(ctx, x, weight, bias)
                      : ops::linear(ctx, x, weight, bias, sensitivity);
  }
  void visit(ParamVisitor& v, const std::string& name) {
    ParameterInfo own = info;
    own.transposed = transposed;
    v.parameter(name + ".weight", weight, own);
    if (bias) v.parameter(name + ".bias", bias, {Role::bias, info.activity, info.mtp});
  }
};

// Several layers of one x, none of them transposed: prepared once, the threads woken once.
inline std::vector<Tensor> forward_all(Context& ctx, const Tensor& x,
                                       std::initializer_list<const Linear*> layers) {
  std::vector<ops::LinearLayer> list;
  for (const Linear* layer : layers) list.push_back({&layer->weight, &layer->bias, layer->sensitivity});
  return ops::linears(ctx, x, list);
}

// RMSNorm, or LayerNorm with a bias (GPT-2).
struct Norm {
  enum class Kind { rms, layer };
  Tensor weight;  // (dim)
  Tensor bias;    // (dim), LayerNorm only
  float eps = 1e-6f;
  Kind kind = Kind::rms;
  bool mtp = false;

  Norm() = default;
  Norm(int64_t dim, float epsilon, bool in_mtp = false, Kind of = Kind::rms)
      : weight(Tensor::declare({dim})), eps(epsilon), kind(of), mtp(in_mtp) {
    if (kind == Kind::layer) bias = Tensor::declare({dim});
  }
  Tensor forward(Context& ctx, const Tensor& x) const {
    return kind == Kind::rms ? ops::rms_norm(ctx, x, weight, eps)
                             : ops::layer_norm(ctx, x, weight, bias, eps);
  }
  void visit(ParamVisitor& v, const std::string& name) {
    v.parameter(name + ".weight", weight, {Role::norm, 1, mtp});
    if (bias) v.parameter(name + ".bias", bias, {Role::bias, 1, mtp});
  }
};

}  // namespace frugal
