// Multi-head latent attention of prompt rows over a cache of latents: keys and values are written out per
// head (DeepSeek-V2 report §2.1, without absorption), for as many heads at a time as fit into a fixed amount
// of memory, so that a long context costs no more of it than a short one.
#include <algorithm>
#include <cstring>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/multiply_streaming.h"
#include "core/error.h"
#include "kernels/attention.h"

namespace frugal::ops {
namespace {

constexpr int64_t kTileKeys = 512;  // latents that are decoded and multiplied at a time
constexpr int64_t kGrain = 16;

// Keys (keys, heads, nope + rope) and values (keys, heads, v) of some heads.
struct Written {
  const Format& format;
  int64_t first = 0, heads = 0;  // of the model's
  Tensor keys, values;
};

// Keys and values are bf16 where latents are kept in less than f32: fast computing multiplies them as such.
const Format& written_format(const Context& ctx, const Format& kv_format) {
  return ctx.compute == Compute::fast && &kv_format != &formats::f32 ? formats::bf16 : formats::f32;
}

int64_t heads_at_once(const MlaDims& d, int64_t keys, const Format& format, int64_t memory) {
  const int64_t each = format.bytes(std::max<int64_t>(1, keys) * (d.nope + d.rope + d.v));
  const int64_t most = std::clamp<int64_t>(memory / each, 1, d.heads);
  const int64_t passes = (d.heads + most - 1) / most;
  return (d.heads + passes - 1) / passes;
}

// `n` floats to where value `at` of `to` is.
void write(const Context& ctx, const float* from, int64_t n, Tensor& to, int64_t at) {
  if (to.is_f32()) {
    std::memcpy(to.f32() + at, from, static_cast<size_t>(n) * sizeof(float));
  } else {
    ctx.kernels.f32_to_bf16(n, from, reinterpret_cast<uint16_t*>(to.data()) + at);
  }
}

// Latents of `count` keys from `begin` on: their part of W_UK and W_UV, each key with the rotated part that
// all heads share.
void write_out(Context& ctx, const Tensor& rows, const Tensor& kv, int64_t begin, const MlaDims& d,
               Written& to) {
  const int64_t qk = d.nope + d.rope, in = d.nope + d.v;
  ctx.pool.parallel_for(rows.rows(), kGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      const float* k_pe = rows.f32() + r * rows.cols() + d.rank;
      for (int64_t h = 0; h < to.heads; ++h) {
        const float* from = kv.f32() + (r * to.heads + h) * in;
        const int64_t at = (begin + r) * to.heads + h;
        write(ctx, from, d.nope, to.keys, at * qk);
        write(ctx, k_pe, d.rope, to.keys, at * qk + d.nope);
        write(ctx, from + d.nope, d.v, to.values, at * d.v);
      }
    }
  });
}

void decompress(Context& ctx, const Tensor& kv_b, const CachedKeys& cached, const MlaDims& d,
                const Format& kv_format, Written& to) {
  const int64_t width = d.rank + d.rope, outs = to.heads * (d.nope + d.v);
  const OpScope scope(ctx, "mla decompress", product_flops(cached.keys, d.rank, outs),
                      static_cast<double>(kv_format.bytes(cached.keys * width)));
  Tensor kv = Tensor::empty(ctx, {std::min(kTileKeys, cached.keys), outs});
  for (int64_t begin = 0; begin < cached.keys && !ctx.dry_run(); begin += kTileKeys) {
    const int64_t count = std::min(kTileKeys, cached.keys - begin);
    const Tensor rows =
        load_rows(ctx, static_cast<const std::byte*>(cached.k) + kv_format.bytes(begin * width), count, width,
                  kv_format);
    const Product product{.x = rows.f32(),
                          .rows = count,
                          .weight = &kv_b,
                          .y = kv.f32(),
                          .x_row = width,
                          .y_row = outs,
                          .first = to.first * (d.nope + d.v),
                          .outs = outs};
    multiply_streaming(ctx, {&product, 1});
    write_out(ctx, rows, kv, begin, d, to);
  }
}

void attend(const Context& ctx, const Tensor& q, const Written& written, int64_t keys, const MlaDims& d,
            float scale, Tensor& y) {
  const int64_t qk = d.nope + d.rope;
  const double seen = static_cast<double>(keys) - static_cast<double>(q.rows() - 1) / 2;
  const double pairs = static_cast<double>(q.rows() * written.heads) * seen;
  const OpScope scope(ctx, "attention over cache", 2 * pairs * static_cast<double>(qk + d.v),
                      bytes_of(written.keys, written.values));
  if (ctx.dry_run()) return;
  const bool half = &written.format == &formats::bf16;
  const kernels::AttentionSpan span{.query_begin = 0,
                                    .query_end = q.rows(),
                                    .k = written.keys.data(),
                                    .v = written.values.data(),
                                    .keys = keys};
  kernels::Attention a{};
  a.heads = a.kv_heads = written.heads;
  a.qk_dim = qk;
  a.v_dim = d.v;
  a.q = q.f32() + written.first * qk;
  a.q_row = q.cols();
  a.kv_type = half ? kernels::KvType::bf16 : kernels::KvType::f32;
  a.precision = half ? kernels::Precision::bf16 : kernels::Precision::f32;
  a.k_row = written.heads * qk;
  a.v_row = written.heads * d.v;
  a.scale = scale;
  a.spans = {&span, 1};
  kernels::attention_forward(ctx.pool, ctx.kernels, a, y.f32() + written.first * d.v, y.cols(), nullptr);
}

}  // namespace

Tensor mla_prompt(Context& ctx, const Tensor& q, const Tensor& kv_b, const CachedKeys& cached,
                  const MlaDims& d, float scale, const Format& kv_format, int64_t memory) {
  CHECK(ctx.tape == nullptr, "attention over a cache has no gradient");
  CHECK(q.cols() == d.heads * (d.nope + d.rope) && kv_b.cols() == d.rank && q.rows() <= cached.keys);
  Tensor y = Tensor::empty(ctx, {q.rows(), d.heads * d.v});
  const Format& format = written_format(ctx, kv_format);
  const int64_t most = heads_at_once(d, cached.keys, format, memory);
  const Tensor keys = Tensor::empty(ctx, {cached.keys, most * (d.nope + d.rope)}, format),
               values = Tensor::empty(ctx, {cached.keys, most * d.v}, format);
  for (int64_t first = 0; first < d.heads; first += most) {
    Written written{.format = format,
                    .first = first,
                    .heads = std::min(most, d.heads - first),
                    .keys = keys,
                    .values = values};
    decompress(ctx, kv_b, cached, d, kv_format, written);
    attend(ctx, q, written, cached.keys, d, scale, y);
  }
  return y;
}

}  // namespace frugal::ops
