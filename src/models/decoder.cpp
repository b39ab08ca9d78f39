#include "models/decoder.h"

#include <nlohmann/json.hpp>

#include "autograd/part_observer.h"
#include "core/error.h"

namespace frugal {

Decoder::Decoder(const DecoderConfig& c, Json json, std::vector<Block> blocks, std::vector<MtpModule> mtp)
    : config_(c),
      json_(std::make_unique<Json>(std::move(json))),
      embedding_(Tensor::declare({c.vocab, c.hidden})),
      blocks_(std::move(blocks)),
      norm_(c.hidden, c.eps, false, c.norm),
      mtp_(std::move(mtp)) {
  if (c.learned_positions) positions_ = Tensor::declare({c.max_positions, c.hidden});
  if (!c.tied) head_ = Tensor::declare({c.vocab, c.hidden});
}

ModelShape Decoder::shape() const {
  return {config_.vocab,
          config_.hidden,
          static_cast<int64_t>(blocks_.size()),
          config_.max_positions,
          static_cast<int64_t>(mtp_.size()),
          config_.bos,
          config_.eos};
}

Json Decoder::config() const {
  return *json_;
}

void Decoder::visit(ParamVisitor& v) {
  const DecoderNames& n = config_.names;
  v.parameter(n.embedding, embedding_, {Role::embedding});
  if (positions_) v.parameter(n.positions, positions_, {Role::embedding});
  for (size_t i = 0; i < blocks_.size(); ++i) blocks_[i].visit(v, n.layers + std::to_string(i));
  norm_.visit(v, n.norm);
  if (config_.tied) {
    v.alias(n.head, n.embedding);
  } else {
    v.parameter(n.head, head_, {Role::head});
  }
  for (size_t k = 0; k < mtp_.size(); ++k) {
    const std::string name = n.layers + std::to_string(blocks_.size() + k);
    v.alias(name + ".embed_tokens.weight", n.embedding);
    v.alias(name + ".shared_head.head.weight", config_.tied ? n.embedding : n.head);
    mtp_[k].enorm.visit(v, name + ".enorm");
    mtp_[k].hnorm.visit(v, name + ".hnorm");
    mtp_[k].eh_proj.visit(v, name + ".eh_proj");
    mtp_[k].block.visit(v, name);
    mtp_[k].norm.visit(v, name + ".shared_head.norm");
  }
  if (config_.spare_mtp)
    v.spare_modules(n.layers, static_cast<int64_t>(blocks_.size() + mtp_.size()), ".enorm.weight");
}

Tensor Decoder::embed(Context& ctx, const Batch& batch) const {
  const Tensor x = ops::embedding(ctx, batch.tokens, embedding_);
  return positions_ ? ops::add(ctx, x, ops::embedding(ctx, batch.positions, positions_)) : x;
}

Hidden Decoder::forward(Context& ctx, const Batch& batch, Cache* cache) {
  CHECK(batch.positions.size() == batch.tokens.size() && !batch.offsets.empty() &&
        batch.offsets.back() == batch.rows());
  Tensor x = embed(ctx, batch);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Tensor before = x;
    x = blocks_[i].run(ctx, x, batch, cache, static_cast<int>(i), recompute_);
    if (PartObserver* observer = part_observer(ctx)) observer->block(static_cast<int>(i), before, x);
  }
  if (cache != nullptr) cache->advance(batch);
  return {x, norm_.forward(ctx, x)};
}

Hidden Decoder::mtp(Context& ctx, const Tensor& previous, const Batch& shifted, int depth, Cache* cache) {
  const MtpModule& m = mtp_.at(static_cast<size_t>(depth - 1));
  const Tensor embedded = m.enorm.forward(ctx, ops::embedding(ctx, shifted.tokens, embedding_));
  const Tensor joined = ops::concat_columns(ctx, embedded, m.hnorm.forward(ctx, previous));
  const int layer = static_cast<int>(blocks_.size()) + depth - 1;
  const Tensor x = m.block.run(ctx, m.eh_proj.forward(ctx, joined), shifted, cache,
                               cache != nullptr ? 0 : layer, recompute_);
  if (cache != nullptr) cache->advance(shifted);
  return {x, m.norm.forward(ctx, x)};
}

void Decoder::set_layout(const WeightLayout& layout) {
  layout_ = layout;
  const auto apply = [&](Block& block) {
    block.attention->set_layout(layout);
    block.ffn->set_layout(layout);
  };
  for (Block& block : blocks_) apply(block);
  for (MtpModule& module : mtp_) apply(module.block);
}

std::vector<CacheLayer> Decoder::cache_layers() const {
  std::vector<CacheLayer> layers;
  for (const Block& block : blocks_) layers.push_back(block.attention->cache_layer());
  return layers;
}

std::vector<CacheLayer> Decoder::mtp_cache_layers() const {
  std::vector<CacheLayer> layers;
  for (const MtpModule& module : mtp_) layers.push_back(module.block.attention->cache_layer());
  return layers;
}

double Decoder::attention_flops(double keys) const {
  double sum = 0;
  for (const Block& block : blocks_) sum += block.attention->flops(keys);
  return sum;
}

std::vector<Model::RoutingBias> Decoder::routing_biases() {
  std::vector<RoutingBias> out;
  const auto add = [&](int layer, const Block& block) {
    if (Tensor* bias = block.ffn->routing_bias()) out.push_back({layer, bias});
  };
  for (size_t i = 0; i < blocks_.size(); ++i) add(static_cast<int>(i), blocks_[i]);
  for (size_t k = 0; k < mtp_.size(); ++k) add(static_cast<int>(blocks_.size() + k), mtp_[k].block);
  return out;
}

}  // namespace frugal
