// A pre-norm decoder block and a stack of them: what every decoder-only family has in common.
#pragma once

#include <memory>
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
};

struct Block {
  BlockNames names;
  Norm input_norm, post_attention_norm;
  std::unique_ptr<AttentionModule> attention;
  std::unique_ptr<FfnModule> ffn;

  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) const {
    const Tensor h =
        ops::add(ctx, x, attention->forward(ctx, input_norm.forward(ctx, x), batch, cache, layer));
    return ops::add(ctx, h, ffn->forward(ctx, post_attention_norm.forward(ctx, h), batch));
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
    post_attention_norm.visit(v, name + names.post_attention_norm);
    ffn->visit(v, name + names.ffn);
  }
};

}  // namespace frugal
