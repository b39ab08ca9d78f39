// A pre-norm decoder block: what every decoder-only family has in common. Some have norms behind attention
// and feed-forward as well (sandwich norm).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "nn/attention.h"
#include "nn/ffn.h"

namespace frugal {

// What a block's parts are called in checkpoints.
struct BlockNames {
  const char* input_norm = ".input_layernorm";
  const char* attention = ".self_attn";
  const char* post_attention_norm = ".post_attention_layernorm";
  const char* ffn = ".mlp";
  // Where there are such norms.
  const char* attention_output_norm = ".post_attention_layernorm";
  const char* ffn_output_norm = ".post_mlp_layernorm";
};

struct Block {
  BlockNames names;
  Norm input_norm, post_attention_norm;  // before attention, before the feed-forward
  std::optional<Norm> attention_output_norm, ffn_output_norm;
  std::unique_ptr<AttentionModule> attention;
  std::unique_ptr<FfnModule> ffn;

  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) const {
    Tensor attended = attention->forward(ctx, input_norm.forward(ctx, x), batch, cache, layer);
    if (attention_output_norm) attended = attention_output_norm->forward(ctx, attended);
    const Tensor h = ops::add(ctx, x, attended);
    Tensor fed = ffn->forward(ctx, post_attention_norm.forward(ctx, h), batch);
    if (ffn_output_norm) fed = ffn_output_norm->forward(ctx, fed);
    return ops::add(ctx, h, fed);
  }
  // As forward; with `recompute` nothing inside is kept for backward.
  Tensor run(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer,
             bool recompute) const {
    if (!recompute || cache != nullptr) return forward(ctx, x, batch, cache, layer);
    return recomputed(ctx, x, [this, batch, layer](Context& c, const Tensor& in) {
      return forward(c, in, batch, nullptr, layer);
    });
  }
  void visit(ParamVisitor& v, const std::string& name) {
    input_norm.visit(v, name + names.input_norm);
    attention->visit(v, name + names.attention);
    if (attention_output_norm) attention_output_norm->visit(v, name + names.attention_output_norm);
    post_attention_norm.visit(v, name + names.post_attention_norm);
    ffn->visit(v, name + names.ffn);
    if (ffn_output_norm) ffn_output_norm->visit(v, name + names.ffn_output_norm);
  }
};

}  // namespace frugal
