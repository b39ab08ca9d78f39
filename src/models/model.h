// What every architecture offers: one forward for training, prefill and decode. Ops record on ctx.tape when
// there is one; a cache, when given, is read and extended.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "nn/batch.h"
#include "nn/cache.h"
#include "nn/module.h"

namespace frugal {

// The end of a forward pass, (R, D) each: after the last block, and after the final norm (what the head
// takes).
struct Hidden {
  Tensor before_norm;
  Tensor normed;
};

struct ModelShape {
  int64_t vocab_size = 0, hidden_size = 0, layers = 0, max_positions = 0, mtp_depth = 0;
  int bos = -1, eos = -1;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual ModelShape shape() const = 0;
  // HF's config.json of this model, architectures and model_type included.
  virtual Json config() const = 0;
  virtual void visit(ParamVisitor& v) = 0;
  virtual Hidden forward(Context& ctx, const Batch& batch, Cache* cache) = 0;
  // (V, D): the embedding's own table when tied.
  virtual const Tensor& head() const = 0;
  virtual std::vector<CacheLayer> cache_layers() const = 0;
  // FLOPs of attention scores and values for one query that sees `keys` keys, all layers, forward,
  // decompressed form.
  virtual double attention_flops(double keys) const = 0;
  // Standard deviation of initial matrices (config: initializer_range).
  virtual double init_std() const = 0;
  // Before weights are loaded: they will lie as `layout` says. Only what is to be read, not trained or saved.
  virtual void set_layout(const WeightLayout& layout) = 0;
  virtual WeightLayout layout() const = 0;
  // Keep no activations inside blocks; run them twice instead.
  virtual void set_recompute(bool on) = 0;

  // Multi-token prediction (DeepSeek-V3 report §2.2): module `depth` (1-based) takes the previous depth's
  // hidden rows
  // (`before_norm` of the main model for depth 1) and the tokens `depth` further on, and gives hidden rows
  // for the token after. Returned normed by the module's own norm, and before it for the next depth.
  // `cache`, when given, is the module's own, of one layer as in mtp_cache_layers(); it is read and extended.
  virtual Hidden mtp(Context& ctx, const Tensor& previous, const Batch& shifted, int depth,
                     Cache* cache = nullptr) = 0;
  virtual std::vector<CacheLayer> mtp_cache_layers() const = 0;  // by depth

  // The routing biases to be balanced after each step: layer index as ctx.aux counts, and the buffer (E).
  struct RoutingBias {
    int layer;
    Tensor* bias;
  };
  virtual std::vector<RoutingBias> routing_biases() = 0;
};

// (rows, V) logits of chosen hidden rows; all rows when `rows` is empty.
Tensor logits(Context& ctx, const Model& model, const Tensor& normed, std::span<const int64_t> rows = {});

struct GgufFamily;  // models/gguf_family.h
struct HfStack;     // models/hf_stack.h

struct Architecture {
  std::string_view model_type;  // HF's, and the file's name
  std::string_view hf_class;    // what transformers calls it
  std::unique_ptr<Model> (*create)(
      const Json& config);           // parameters declared, not allocated; UsageError on bad dims
  const GgufFamily* gguf = nullptr;  // null: not read from GGUF files, nor written to them
  // Parameters that are parts of larger tensors in Hugging Face's layout; mostly none.
  std::span<const HfStack> stacks = {};
};
// The explicit list of registry.cpp.
std::span<const Architecture* const> all_architectures();
// By config.json's model_type; null when there is none.
const Architecture* find_architecture(const Json& config);
// From HF's config.json; Error lists the supported model types.
std::unique_ptr<Model> create_model(const Json& config);

struct Preset {
  std::string_view name;
  std::string_view help;
  std::string_view config;  // JSON, HF's keys
};
std::span<const Preset> all_presets();
Json preset_config(std::string_view name);  // UsageError lists the names

struct ParameterCounts {
  int64_t total = 0;   // without MTP
  int64_t active = 0;  // weights of matrix products a token meets, with the head, without the embedding
  int64_t embedding = 0;
  int64_t mtp = 0;
  double active_exact = 0;
};
ParameterCounts count_parameters(Model& model);
// Bytes one token adds to a cache in `format`.
int64_t kv_bytes_per_token(const Model& model, const Format& format);
// Model FLOPs a token at context T, causal attention (T/2 keys on average): forward, and training = 3 x
// forward.
struct FlopsPerToken {
  double forward = 0, training = 0;
};
FlopsPerToken flops_per_token(Model& model, int64_t context);
// Bytes of weights, as they are stored and without MTP, that `tokens` tokens of one pass read together. Of an
// expert counts the share that is expected to be chosen by one of them.
double weight_bytes(Model& model, int64_t tokens);
// What a computation asks for by the model alone: FLOPs as above, and the bytes of weights and of cached keys
// and values that cross memory at least once; activations apart.
struct Work {
  double flops = 0, bytes = 0;
};
// `tokens` tokens in windows of `context`, in `passes` forward passes.
Work forward_work(Model& model, int64_t context, int64_t tokens, int64_t passes);
// Reads a prompt in one pass, then writes a reply token by token over a cache in `kv`.
Work generation_work(Model& model, const Format& kv, int64_t prompt, int64_t reply);
// Allocates every parameter and fills it: N(0, init_std) for matrices, ones for norms, zeros for biases and
// buffers. Numbers are counted by name and place, so they are the same for any number of threads.
void initialise(Context& ctx, Model& model, uint64_t seed);
// Gives every parameter but buffers a gradient.
void make_trainable(Model& model);

}  // namespace frugal
