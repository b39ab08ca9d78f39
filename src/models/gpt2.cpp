// GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, multi-head attention with q, k and v in
// one Conv1D.
#include <cmath>
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/decoder.h"
#include "models/gguf_family.h"

namespace frugal {
namespace {

struct Gpt2Config {
  int64_t vocab_size = 50257, n_positions = 1024, n_embd = 768, n_layer = 12, n_head = 12;
  std::optional<int64_t> n_inner;
  double layer_norm_epsilon = 1e-5, initializer_range = 0.02;
  std::string activation_function = "gelu_new";
  bool tie_word_embeddings = true, scale_attn_weights = true, scale_attn_by_inverse_layer_idx = false;
  void visit(FieldVisitor& v) {
    v.field("vocab_size", vocab_size, "tokens");
    v.field("n_positions", n_positions, "longest context");
    v.field("n_embd", n_embd, "width of the residual stream");
    v.field("n_layer", n_layer, "blocks");
    v.field("n_head", n_head, "heads");
    v.field("n_inner", n_inner, "width of the feed-forward; default 4 n_embd");
    v.field("layer_norm_epsilon", layer_norm_epsilon, "epsilon of the norms");
    v.field("initializer_range", initializer_range, "standard deviation of initial weights");
    v.field("activation_function", activation_function, "gelu_new");
    v.field("tie_word_embeddings", tie_word_embeddings, "the head is the embedding");
    v.field("scale_attn_weights", scale_attn_weights, "true");
    v.field("scale_attn_by_inverse_layer_idx", scale_attn_by_inverse_layer_idx, "false");
  }
};

class Gpt2Attention : public AttentionModule {
 public:
  Gpt2Attention(int64_t hidden, int64_t heads)
      : heads_(heads),
        hidden_(hidden),
        c_attn_(Linear::conv1d(hidden, 3 * hidden)),
        c_proj_(Linear::conv1d(hidden, hidden).with(ops::Sensitivity::low)) {}

  Tensor forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) override {
    const Tensor qkv = c_attn_.forward(ctx, x);
    const Tensor q = ops::columns(ctx, qkv, 0, hidden_), k = ops::columns(ctx, qkv, hidden_, 2 * hidden_);
    const Tensor v = ops::columns(ctx, qkv, 2 * hidden_, 3 * hidden_);
    const int64_t width = hidden_ / heads_;
    const ops::AttentionOptions options{.heads = heads_,
                                        .kv_heads = heads_,
                                        .qk_dim = width,
                                        .v_dim = width,
                                        .scale = 1.0f / std::sqrt(static_cast<float>(width))};
    return c_proj_.forward(ctx, attend(ctx, q, k, v, batch, cache, layer, options));
  }
  void visit(ParamVisitor& v, const std::string& name) override {
    c_attn_.visit(v, name + ".c_attn");
    c_proj_.visit(v, name + ".c_proj");
  }
  CacheLayer cache_layer() const override { return {hidden_, hidden_, hidden_ / heads_}; }
  double flops(double keys) const override { return 4.0 * static_cast<double>(hidden_) * keys; }
  void set_layout(const WeightLayout& layout) override {
    c_attn_.set_layout(layout);
    c_proj_.set_layout(layout);
  }

 private:
  int64_t heads_, hidden_;
  Linear c_attn_, c_proj_;
};

std::unique_ptr<Model> create(const Json& json) {
  constexpr const char* kName = "gpt2";
  Gpt2Config c;
  read_config(c, json);
  require_at_least(kName, "vocab_size", c.vocab_size, 1);
  require_at_least(kName, "n_positions", c.n_positions, 1);
  require_at_least(kName, "n_embd", c.n_embd, 1);
  require_at_least(kName, "n_layer", c.n_layer, 1);
  require_divides(kName, "n_head", c.n_head, "n_embd", c.n_embd);
  require_at_least(kName, "n_inner", c.n_inner.value_or(1), 1);
  require_equal(kName, "activation_function", c.activation_function, "gelu_new");
  if (!c.scale_attn_weights || c.scale_attn_by_inverse_layer_idx) {
    fail(
        "config of gpt2: only scale_attn_weights = true and scale_attn_by_inverse_layer_idx = false are "
        "supported");
  }
  const auto eps = static_cast<float>(c.layer_norm_epsilon);
  std::vector<Block> blocks;
  for (int64_t i = 0; i < c.n_layer; ++i) {
    Block block;
    block.names = {".ln_1", ".attn", ".ln_2", ".mlp"};
    block.input_norm = Norm(c.n_embd, eps, false, Norm::Kind::layer);
    block.post_attention_norm = Norm(c.n_embd, eps, false, Norm::Kind::layer);
    block.attention = std::make_unique<Gpt2Attention>(c.n_embd, c.n_head);
    block.ffn = std::make_unique<GeluFfn>(c.n_embd, c.n_inner.value_or(4 * c.n_embd));
    blocks.push_back(std::move(block));
  }
  const DecoderConfig decoder{
      .vocab = c.vocab_size,
      .hidden = c.n_embd,
      .max_positions = c.n_positions,
      .eps = eps,
      .tied = c.tie_word_embeddings,
      .init_std = c.initializer_range,
      .bos = token_id(json, "bos_token_id"),
      .eos = token_id(json, "eos_token_id"),
      .learned_positions = true,
      .norm = Norm::Kind::layer,
      .names = {
          .embedding = "transformer.wte.weight", .layers = "transformer.h.", .norm = "transformer.ln_f"}};
  return std::make_unique<Decoder>(decoder, completed_config(json, write_fields(c), "GPT2LMHeadModel", kName),
                                   std::move(blocks));
}

}  // namespace

extern const Architecture kGpt2{"gpt2", "GPT2LMHeadModel", create, &kGpt2Gguf};

}  // namespace frugal
