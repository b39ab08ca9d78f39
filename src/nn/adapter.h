// Adapters of a model: which matrices get one, how it begins, how to go over them. They lie beside the
// matrices that the parameter visit names (tensor/low_rank.h), so no module knows of them, and the matrices
// stay as they are.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fields.h"
#include "nn/module.h"
#include "tensor/low_rank.h"

namespace frugal {

enum class AdapterKind { none, lora, rslora, dora };  // none: the model itself is trained

struct AdapterOptions {
  std::string kind = "lora";
  int64_t rank = 8;
  double alpha = 16;
  double dropout = 0;
  std::vector<std::string> target_modules = {"all-linear"};

  void visit(FieldVisitor& v);
  AdapterKind parsed_kind() const;
  // What the product of B and A is multiplied by: alpha / rank, or alpha / sqrt(rank) for rsLoRA.
  double scale() const;
};
// UsageError naming `table`.key when a value is out of its range.
void check(const AdapterOptions& options, std::string_view table);

using VisitParameters = std::function<void(ParamVisitor&)>;  // Model::visit

// One adapter: the parameter it lies beside, by its Hugging Face name ("model.layers.0.mlp.up_proj.weight").
struct AdapterPlace {
  std::string parameter;
  Tensor* matrix = nullptr;  // in the model
  ParameterInfo info;

  const LowRank& low_rank() const { return *matrix->low_rank(); }
  std::string module() const { return parameter.substr(0, parameter.rfind('.')); }
};

// Every matrix that has an adapter, in the order of the visit.
std::vector<AdapterPlace> adapters_of(const VisitParameters& model);

// The matrices that `target_modules` choose: those whose module is called so or ends in ".NAME" ("q_proj",
// "self_attn.q_proj"), or with "all-linear" every matrix of attention and feed-forward, experts included;
// never embedding, head, router or multi-token prediction. Error listing the names there are when one chooses
// nothing, or chooses what cannot have an adapter of this kind.
std::vector<AdapterPlace> adapter_targets(const VisitParameters& model, const AdapterOptions& options);

// Puts a fresh adapter beside each target: A uniform in +-1/sqrt(in) (as PEFT, Kaiming with a = sqrt 5), B
// zero, DoRA's magnitude the norms of W, so that the model begins as it is. `trainable`: they have gradients.
// Returns the switch of their dropout. Numbers are counted by name and place.
std::shared_ptr<LowRankDropout> attach_adapters(const Context& ctx, const VisitParameters& model,
                                                const AdapterOptions& options, uint64_t seed, bool trainable);

// Takes all adapters away.
void detach_adapters(const VisitParameters& model);

// The model without its adapters, as long as this lives; then they are back.
class WithoutAdapters {
 public:
  explicit WithoutAdapters(const VisitParameters& model);
  ~WithoutAdapters();
  WithoutAdapters(const WithoutAdapters&) = delete;
  WithoutAdapters& operator=(const WithoutAdapters&) = delete;

 private:
  std::vector<std::pair<Tensor*, Tensor>> adapted_;
};

// body(what, tensor) for A ("lora_A"), B ("lora_B") and, with DoRA, "lora_magnitude_vector".
void visit_tensors(const LowRank& low_rank,
                   const std::function<void(std::string_view what, const Tensor&)>& body);

}  // namespace frugal
