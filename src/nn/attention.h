// Attention modules: grouped-query (Ainslie et al. 2023) and multi-head latent (DeepSeek-V2 report §2.1). One
// forward for training rows, prompts and generated rows.
#pragma once

#include <memory>
#include <numeric>

#include "nn/cache.h"
#include "nn/module.h"
#include "nn/rope.h"

namespace frugal {

class AttentionModule {
 public:
  virtual ~AttentionModule() = default;
  // x (R, D) -> (R, D). With a cache, the rows are appended to it and attend to all it holds.
  virtual Tensor forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) = 0;
  virtual void visit(ParamVisitor& v, const std::string& name) = 0;
  virtual CacheLayer cache_layer() const = 0;
  virtual double flops(double keys) const = 0;  // scores and values of one query, forward
  virtual void set_layout(const WeightLayout& layout) { (void)layout; }
};

// softmax(q k^T) v of the batch's own rows, or of all that the cache holds once k and v are appended to it.
Tensor attend(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
              Cache* cache, int layer, ops::AttentionOptions options, const Tensor& sinks = {});

struct GqaConfig {
  int64_t hidden, heads, kv_heads, head_dim;
  bool qkv_bias = false, output_bias = false;
  bool qk_norm = false;  // an RMSNorm over each head of q and k, before rotation (Qwen3)
  float eps = 1e-6f;     // of that norm
  int64_t window = 0;    // keys a query sees, its own included; 0 for all
  bool sinks = false;    // a learned score per head that takes its share of the softmax and gives nothing
  ops::RopePairing pairing = ops::RopePairing::halves;
};

class GqaAttention : public AttentionModule {
 public:
  GqaAttention(const GqaConfig& config, std::shared_ptr<RopeTable> rope);
  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) override;
  void visit(ParamVisitor& v, const std::string& name) override;
  CacheLayer cache_layer() const override;
  double flops(double keys) const override;
  void set_layout(const WeightLayout& layout) override {
    if (layout.adjacent_pairs) config_.pairing = ops::RopePairing::interleaved;
  }

 private:
  GqaConfig config_;
  std::shared_ptr<RopeTable> rope_;
  Linear q_proj_, k_proj_, v_proj_, o_proj_;
  Norm q_norm_, k_norm_;
  Tensor sinks_;
};

struct MlaConfig {
  int64_t hidden, heads;
  int64_t q_rank;  // 0: queries straight from the hidden rows
  int64_t kv_rank, nope, rope, v;
  float eps = 1e-6f;
  double softmax_factor = 1;  // YaRN's, see yarn_softmax_factor
  ops::RopePairing pairing = ops::RopePairing::interleaved;
  bool bias = false;
  bool mtp = false;
};

class MlaAttention : public AttentionModule {
 public:
  MlaAttention(const MlaConfig& config, std::shared_ptr<RopeTable> rope);
  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) override;
  void visit(ParamVisitor& v, const std::string& name) override;
  CacheLayer cache_layer() const override {
    return {config_.kv_rank + config_.rope, 0, std::gcd(config_.kv_rank, config_.rope)};
  }
  double flops(double keys) const override;

 private:
  Tensor queries(Context& ctx, const Tensor& projected, const Batch& batch, const Tensor& table);
  Tensor attend_cached(Context& ctx, const Tensor& q, const Batch& batch, Cache& cache, int layer);
  Tensor attend_prompt(Context& ctx, const Tensor& q, const ops::CachedKeys& own, const Cache& cache,
                       int layer, int slot);
  const Tensor& up_projection(Context& ctx);
  float scale() const;

  MlaConfig config_;
  ops::MlaDims dims_;
  std::shared_ptr<RopeTable> rope_;
  Linear q_proj_, q_a_proj_, q_b_proj_, kv_a_proj_, kv_b_proj_, o_proj_;
  Norm q_a_norm_, kv_a_norm_;
  // kv_b_proj_'s weight as f32 when it is stored in a format that the absorbed form cannot read: it is needed
  // whole for every token, in both directions. Made on first use.
  Tensor decoded_;
  const std::byte* decoded_from_ = nullptr;
};

}  // namespace frugal
