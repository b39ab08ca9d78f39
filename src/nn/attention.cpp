#include "nn/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace frugal {
namespace {

Tensor table_for(const Context& ctx, RopeTable& rope, const Batch& batch) {
  const int32_t last =
      batch.positions.empty() ? 0 : *std::max_element(batch.positions.begin(), batch.positions.end());
  return rope.table(ctx, last + 1);
}

// What every sequence of the batch sees once its own rows are in the cache.
std::vector<ops::CachedKeys> cached_keys(const Cache& cache, int layer, const Batch& batch) {
  std::vector<ops::CachedKeys> keys;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const auto i = static_cast<size_t>(s);
    const int slot = batch.slots.at(i);
    keys.push_back(cache.keys(layer, slot, cache.length(slot) + batch.offsets[i + 1] - batch.offsets[i]));
    keys.back().stream = !batch.roles.empty() && batch.roles[i] == RowRole::generated;
  }
  return keys;
}

std::vector<int64_t> range(int64_t begin, int64_t end) {
  std::vector<int64_t> rows;
  for (int64_t r = begin; r < end; ++r) rows.push_back(r);
  return rows;
}

}  // namespace

Tensor attend(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
              Cache* cache, int layer, ops::AttentionOptions options, const Tensor& sinks) {
  if (cache == nullptr) return ops::attention(ctx, q, k, v, batch.offsets, options, sinks);
  cache->append(ctx, layer, batch, k, v);
  options.kv_format = &cache->format();
  return ops::attention_cached(ctx, q, batch.offsets, cached_keys(*cache, layer, batch), options, sinks);
}

GqaAttention::GqaAttention(const GqaConfig& c, std::shared_ptr<RopeTable> rope)
    : config_(c),
      rope_(std::move(rope)),
      q_proj_(c.hidden, c.heads * c.head_dim, c.qkv_bias),
      k_proj_(c.hidden, c.kv_heads * c.head_dim, c.qkv_bias),
      v_proj_(c.hidden, c.kv_heads * c.head_dim, c.qkv_bias),
      o_proj_(Linear(c.heads * c.head_dim, c.hidden, c.output_bias).with(ops::Sensitivity::low)) {
  if (c.qk_norm) q_norm_ = k_norm_ = Norm(c.head_dim, c.eps);
  if (c.sinks) sinks_ = Tensor::declare({c.heads});
}

Tensor GqaAttention::forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) {
  const GqaConfig& c = config_;
  const Tensor table = table_for(ctx, *rope_, batch);
  const auto rotate = [&](const Tensor& t, const Norm& norm, int64_t heads) {
    const Tensor wide =
        c.qk_norm ? norm.forward(ctx, t.reshaped({t.rows() * heads, c.head_dim})).reshaped(t.shape()) : t;
    return ops::rope(ctx, wide, table, batch.positions, {heads, c.head_dim, 0, c.head_dim, c.pairing});
  };
  const std::vector<Tensor> qkv = forward_all(ctx, x, {&q_proj_, &k_proj_, &v_proj_});
  const Tensor q = rotate(qkv[0], q_norm_, c.heads), k = rotate(qkv[1], k_norm_, c.kv_heads);
  const Tensor& v = qkv[2];
  const ops::AttentionOptions options{.heads = c.heads,
                                      .kv_heads = c.kv_heads,
                                      .qk_dim = c.head_dim,
                                      .v_dim = c.head_dim,
                                      .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                                      .window = c.window};
  return o_proj_.forward(ctx, attend(ctx, q, k, v, batch, cache, layer, options, sinks_));
}

void GqaAttention::visit(ParamVisitor& v, const std::string& name) {
  q_proj_.visit(v, name + ".q_proj");
  k_proj_.visit(v, name + ".k_proj");
  v_proj_.visit(v, name + ".v_proj");
  o_proj_.visit(v, name + ".o_proj");
  if (config_.qk_norm) {
    q_norm_.visit(v, name + ".q_norm");
    k_norm_.visit(v, name + ".k_norm");
  }
  if (config_.sinks) v.parameter(name + ".sinks", sinks_, {Role::bias});
}

CacheLayer GqaAttention::cache_layer() const {
  return {config_.kv_heads * config_.head_dim, config_.kv_heads * config_.head_dim, config_.head_dim};
}

double GqaAttention::flops(double keys) const {
  if (config_.window > 0) keys = std::min(keys, static_cast<double>(config_.window));
  return 4.0 * static_cast<double>(config_.heads * config_.head_dim) * keys;
}

MlaAttention::MlaAttention(const MlaConfig& c, std::shared_ptr<RopeTable> rope)
    : config_(c), dims_{c.heads, c.nope, c.rope, c.v, c.kv_rank}, rope_(std::move(rope)) {
  const ParameterInfo info{Role::matrix, 1, c.mtp};
  const int64_t q_width = c.heads * (c.nope + c.rope);
  if (c.q_rank > 0) {
    q_a_proj_ = Linear(c.hidden, c.q_rank, c.bias, info);
    q_a_norm_ = Norm(c.q_rank, c.eps, c.mtp);
    q_b_proj_ = Linear(c.q_rank, q_width, false, info);
  } else {
    q_proj_ = Linear(c.hidden, q_width, false, info);
  }
  kv_a_proj_ = Linear(c.hidden, c.kv_rank + c.rope, c.bias, info);
  kv_a_norm_ = Norm(c.kv_rank, c.eps, c.mtp);
  kv_b_proj_ = Linear(c.kv_rank, c.heads * (c.nope + c.v), false, info);
  o_proj_ = Linear(c.heads * c.v, c.hidden, c.bias, info).with(ops::Sensitivity::low);
}

float MlaAttention::scale() const {
  return static_cast<float>(config_.softmax_factor /
                            std::sqrt(static_cast<double>(config_.nope + config_.rope)));
}

Tensor MlaAttention::queries(Context& ctx, const Tensor& projected, const Batch& batch, const Tensor& table) {
  const Tensor q = config_.q_rank > 0 ? q_b_proj_.forward(ctx, q_a_norm_.forward(ctx, projected)) : projected;
  return ops::rope(ctx, q, table, batch.positions,
                   {dims_.heads, dims_.nope + dims_.rope, dims_.nope, dims_.rope, config_.pairing});
}

Tensor MlaAttention::forward(Context& ctx, const Tensor& x, const Batch& batch, Cache* cache, int layer) {
  const ops::MlaDims& d = dims_;
  const Tensor table = table_for(ctx, *rope_, batch);
  const auto projected = forward_all(ctx, x, {config_.q_rank > 0 ? &q_a_proj_ : &q_proj_, &kv_a_proj_});
  const Tensor q = queries(ctx, projected[0], batch, table);
  const Tensor& compressed = projected[1];
  const Tensor latent = kv_a_norm_.forward(ctx, ops::columns(ctx, compressed, 0, d.rank));
  const Tensor k_pe = ops::rope(ctx, ops::columns(ctx, compressed, d.rank, d.rank + d.rope), table,
                                batch.positions, {1, d.rope, 0, d.rope, config_.pairing});
  if (cache != nullptr) {
    cache->append(ctx, layer, batch, ops::concat_columns(ctx, latent, k_pe), {});
    return o_proj_.forward(ctx, attend_cached(ctx, q, batch, *cache, layer));
  }
  const auto [keys, values] = ops::mla_keys_values(ctx, kv_b_proj_.forward(ctx, latent), k_pe, d);
  const ops::AttentionOptions options{
      .heads = d.heads, .kv_heads = d.heads, .qk_dim = d.nope + d.rope, .v_dim = d.v, .scale = scale()};
  return o_proj_.forward(ctx, ops::attention(ctx, q, keys, values, batch.offsets, options));
}

const Tensor& MlaAttention::up_projection(Context& ctx) {
  const Tensor& weight = kv_b_proj_.weight;
  if (ops::mla_absorbs_as_stored(ctx, weight)) return weight;
  // An adapter may have changed since.
  if (decoded_ && decoded_from_ == weight.data() && weight.low_rank() == nullptr) return decoded_;
  decoded_ = Tensor::empty(ctx, weight.shape());
  decoded_from_ = nullptr;
  if (ctx.dry_run()) return decoded_;
  constexpr int64_t kGrain = 16;
  ctx.pool.parallel_for(weight.rows(), kGrain, [&](int64_t begin, int64_t end, int) {
    weight.decode_rows(begin, end, decoded_.f32() + begin * weight.cols());
  });
  decoded_from_ = weight.data();
  return decoded_;
}

// Prompt rows decompress all keys of their sequence; generated rows stay with the latents.
Tensor MlaAttention::attend_cached(Context& ctx, const Tensor& q, const Batch& batch, Cache& cache,
                                   int layer) {
  const auto keys = cached_keys(cache, layer, batch);
  bool all_generated = true;
  for (const ops::CachedKeys& k : keys) all_generated = all_generated && k.stream;
  const auto absorbed = [&](const Tensor& rows, std::span<const int64_t> offsets,
                            std::span<const ops::CachedKeys> k) {
    return ops::mla_absorbed(ctx, rows, up_projection(ctx), offsets, k, dims_, scale(), cache.format());
  };
  if (all_generated) return absorbed(q, batch.offsets, keys);
  if (keys.size() == 1) return attend_prompt(ctx, q, keys[0], cache, layer, batch.slots[0]);
  Tensor y = Tensor::empty(ctx, {q.rows(), dims_.heads * dims_.v});
  for (size_t s = 0; s < keys.size(); ++s) {
    const int64_t begin = batch.offsets[s], end = batch.offsets[s + 1];
    const Tensor own = ops::gather_rows(ctx, q, range(begin, end));
    const std::vector<int64_t> offsets = {0, end - begin};
    const Tensor part = keys[s].stream ? absorbed(own, offsets, {&keys[s], 1})
                                       : attend_prompt(ctx, own, keys[s], cache, layer, batch.slots[s]);
    if (!ctx.dry_run())
      std::memcpy(y.f32() + begin * y.cols(), part.f32(), static_cast<size_t>(part.bytes()));
  }
  return y;
}

Tensor MlaAttention::attend_prompt(Context& ctx, const Tensor& q, const ops::CachedKeys& own,
                                   const Cache& cache, int layer, int slot) {
  const ops::MlaDims& d = dims_;
  if (kv_b_proj_.weight.low_rank() == nullptr) {
    return ops::mla_prompt(ctx, q, kv_b_proj_.weight, own, d, scale(), cache.format());
  }
  // With an adapter beside the matrix: all heads at once.
  const Tensor rows = cache.decoded(ctx, layer, slot, own.keys);
  const Tensor latent = ops::columns(ctx, rows, 0, d.rank),
               k_pe = ops::columns(ctx, rows, d.rank, d.rank + d.rope);
  const auto [keys, values] = ops::mla_keys_values(ctx, kv_b_proj_.forward(ctx, latent), k_pe, d);
  const ops::AttentionOptions options{
      .heads = d.heads, .kv_heads = d.heads, .qk_dim = d.nope + d.rope, .v_dim = d.v, .scale = scale()};
  const ops::CachedKeys all{keys.data(), values.data(), own.keys};
  const std::vector<int64_t> offsets = {0, q.rows()};
  return ops::attention_cached(ctx, q, offsets, {&all, 1}, options);
}

void MlaAttention::visit(ParamVisitor& v, const std::string& name) {
  if (config_.q_rank > 0) {
    q_a_proj_.visit(v, name + ".q_a_proj");
    q_a_norm_.visit(v, name + ".q_a_layernorm");
    q_b_proj_.visit(v, name + ".q_b_proj");
  } else {
    q_proj_.visit(v, name + ".q_proj");
  }
  kv_a_proj_.visit(v, name + ".kv_a_proj_with_mqa");
  kv_a_norm_.visit(v, name + ".kv_a_layernorm");
  kv_b_proj_.visit(v, name + ".kv_b_proj");
  o_proj_.visit(v, name + ".o_proj");
}

double MlaAttention::flops(double keys) const {
  return 2.0 * static_cast<double>(dims_.heads * (dims_.nope + dims_.rope + dims_.v)) * keys;
}

}  // namespace frugal
