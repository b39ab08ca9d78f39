// The decoder-only model all families here share: embedding, blocks, final norm, head, and optional
// multi-token-prediction modules. An architecture's file builds the blocks from its config and gives the
// names that differ.
#pragma once

#include <memory>
#include <vector>

#include "models/model.h"
#include "nn/block.h"

namespace frugal {

struct DecoderNames {
  const char* embedding = "model.embed_tokens.weight";
  const char* positions = "transformer.wpe.weight";
  const char* layers = "model.layers.";
  const char* norm = "model.norm";
  const char* head = "lm_head.weight";
};

struct DecoderConfig {
  int64_t vocab, hidden, max_positions;
  float eps;
  bool tied;
  double init_std;
  int bos = -1, eos = -1;
  bool spare_mtp = false;          // files may hold MTP modules that the config does not ask for
  bool learned_positions = false;  // GPT-2: a table of positions is added to the embedding
  Norm::Kind norm = Norm::Kind::rms;
  DecoderNames names = {};
};

// DeepSeek-V3 report §2.2. The published weights, and so we, concatenate [embedding; hidden].
struct MtpModule {
  Norm enorm, hnorm, norm;
  Linear eh_proj;
  Block block;
};

class Decoder : public Model {
 public:
  Decoder(const DecoderConfig& config, Json json, std::vector<Block> blocks, std::vector<MtpModule> mtp = {});

  ModelShape shape() const override;
  Json config() const override;
  void visit(ParamVisitor& v) override;
  Hidden forward(Context& ctx, const Batch& batch, Cache* cache) override;
  Hidden mtp(Context& ctx, const Tensor& previous, const Batch& shifted, int depth,
             Cache* cache = nullptr) override;
  std::vector<CacheLayer> mtp_cache_layers() const override;
  const Tensor& head() const override { return config_.tied ? embedding_ : head_; }
  std::vector<CacheLayer> cache_layers() const override;
  double attention_flops(double keys) const override;
  double init_std() const override { return config_.init_std; }
  void set_layout(const WeightLayout& layout) override;
  WeightLayout layout() const override { return layout_; }
  void set_recompute(bool on) override { recompute_ = on; }
  std::vector<RoutingBias> routing_biases() override;

 private:
  DecoderConfig config_;
  std::unique_ptr<Json> json_;
  Tensor embed(Context& ctx, const Batch& batch) const;

  Tensor embedding_, positions_, head_;
  std::vector<Block> blocks_;
  Norm norm_;
  std::vector<MtpModule> mtp_;
  WeightLayout layout_;
  bool recompute_ = false;
};

}  // namespace frugal
