// Multi-head latent attention (DeepSeek-V2 report §2.1). Decompressed for prompt and training rows: keys and
// values are written out per head. Absorbed for generated rows: W_UK is folded into the query and W_UV into
// the output, so that attention streams one latent row per key instead of H of them.
#include <algorithm>
#include <cstring>
#include <optional>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/multiply_streaming.h"
#include "core/error.h"
#include "kernels/linear.h"
#include "kernels/weigh.h"

namespace frugal::ops {
namespace {

constexpr int64_t kGrain = 32;

size_t float_bytes(int64_t n) {
  return static_cast<size_t>(n) * sizeof(float);
}

void expand(const Context& ctx, const Tensor& kv, const Tensor& k_pe, const MlaDims& d, KeysValues& out) {
  const int64_t qk = d.nope + d.rope, in = d.nope + d.v;
  ctx.pool.parallel_for(kv.rows(), kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t h = 0; h < d.heads; ++h) {
        const float* from = kv.f32() + (r * d.heads + h) * in;
        float* key = out.keys.f32() + (r * d.heads + h) * qk;
        std::memcpy(key, from, float_bytes(d.nope));
        std::memcpy(key + d.nope, k_pe.f32() + r * d.rope, float_bytes(d.rope));
        std::memcpy(out.values.f32() + (r * d.heads + h) * d.v, from + d.nope, float_bytes(d.v));
      }
    }
  });
}

// dkv (rows, H, nope + v) and dk_pe (rows, rope), heads summed in order. Both gradients are fresh: kv and
// k_pe feed this op alone.
void expand_backward(const Context& ctx, const MlaDims& d, int64_t rows, const float* dkeys,
                     const float* dvalues, float* dkv, float* dk_pe) {
  const int64_t qk = d.nope + d.rope, in = d.nope + d.v;
  ctx.pool.parallel_for(rows, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      float* pe = dk_pe + r * d.rope;
      std::memset(pe, 0, float_bytes(d.rope));
      for (int64_t h = 0; h < d.heads; ++h) {
        const float* key = dkeys + (r * d.heads + h) * qk;
        float* to = dkv + (r * d.heads + h) * in;
        std::memcpy(to, key, float_bytes(d.nope));
        std::memcpy(to + d.nope, dvalues + (r * d.heads + h) * d.v, float_bytes(d.v));
        for (int64_t i = 0; i < d.rope; ++i) pe[i] += key[d.nope + i];
      }
    }
  });
}

// absorb_queries for a kv_b that is decoded a few rows at a time: q_absorbed += q_nope[n] * row n of W_UK.
void absorb_queries_decoding(const Context& ctx, const Tensor& q, const Tensor& kv_b, const MlaDims& d,
                             Tensor& absorbed) {
  constexpr int64_t kRows = 32;
  const int64_t qk = d.nope + d.rope, width = d.rank + d.rope;
  ctx.pool.parallel_for(d.heads, 1, [&](int64_t head, int64_t, int worker) {
    auto* w = static_cast<float*>(ctx.pool.scratch(worker, float_bytes(kRows * d.rank)));
    for (int64_t r = 0; r < q.rows(); ++r)
      std::memset(absorbed.f32() + (r * d.heads + head) * width, 0, float_bytes(d.rank));
    for (int64_t begin = 0; begin < d.nope; begin += kRows) {
      const int64_t row = head * (d.nope + d.v) + begin, rows = std::min(kRows, d.nope - begin);
      decode_rows(ctx, kv_b, row, row + rows, w);
      for (int64_t r = 0; r < q.rows(); ++r) {
        const float* from = q.f32() + (r * d.heads + head) * qk + begin;
        float* to = absorbed.f32() + (r * d.heads + head) * width;
        for (int64_t n = 0; n < rows; ++n) ctx.kernels.axpy(d.rank, from[n], w + n * d.rank, to);
      }
    }
  });
}

// Formats of kv_b whose rows kernels weigh as they lie.
std::optional<kernels::KvType> weighed_type(const Tensor& kv_b) {
  const Format& format = kv_b.format();
  if (kv_b.scales() != nullptr) return std::nullopt;
  if (&format == &formats::f32) return kernels::KvType::f32;
  if (&format == &formats::bf16) return kernels::KvType::bf16;
  if (&format == &formats::q8_0) return kernels::KvType::q8_0;
  if (&format == &formats::q4_0) return kernels::KvType::q4_0;
  return std::nullopt;
}

// Rows of q_nope (R, nope) times W_UK (nope, rank) of their head into q_absorbed (R, H, rank + rope).
void absorb_queries(const Context& ctx, const Tensor& q, const Tensor& kv_b, kernels::KvType type,
                    const MlaDims& d, Tensor& absorbed) {
  const int64_t qk = d.nope + d.rope, width = d.rank + d.rope;
  const int64_t row_bytes = kv_b.format().bytes(d.rank);
  std::vector<kernels::WeighRows> problems;
  for (int64_t h = 0; h < d.heads; ++h) {
    problems.push_back({.type = type,
                        .rows = q.rows(),
                        .in = d.nope,
                        .out = d.rank,
                        .x = q.f32() + h * qk,
                        .x_row = d.heads * qk,
                        .w = kv_b.data() + h * (d.nope + d.v) * row_bytes,
                        .w_bytes = row_bytes,
                        .y = absorbed.f32() + h * width,
                        .y_row = d.heads * width});
  }
  kernels::weigh_rows(ctx.pool, ctx.kernels, problems);
}

void copy_rotated(const Tensor& q, const MlaDims& d, Tensor& absorbed) {
  const int64_t qk = d.nope + d.rope, width = d.rank + d.rope;
  for (int64_t i = 0; i < q.rows() * d.heads; ++i) {
    std::memcpy(absorbed.f32() + i * width + d.rank, q.f32() + i * qk + d.nope, float_bytes(d.rope));
  }
}

// expand_outputs for any other format of kv_b: a linear layer for each head.
void expand_outputs_streaming(const Context& ctx, const Tensor& latent, const Tensor& kv_b, const MlaDims& d,
                              Tensor& y) {
  std::vector<Product> products;
  for (int64_t h = 0; h < d.heads; ++h) {
    products.push_back({.x = latent.f32() + h * d.rank,
                        .rows = y.rows(),
                        .weight = &kv_b,
                        .y = y.f32() + h * d.v,
                        .x_row = d.heads * d.rank,
                        .y_row = d.heads * d.v,
                        .first = h * (d.nope + d.v) + d.nope,
                        .outs = d.v});
  }
  multiply_streaming(ctx, products);
}

// Latent outputs (R, H, rank) times W_UV^T (rank, v) into (R, H, v).
void expand_outputs(const Context& ctx, const Tensor& latent, const WeightView& kv_b, const MlaDims& d,
                    Tensor& y) {
  const int64_t element = kv_b.type == kernels::Element::bf16 ? 2 : 4;
  std::vector<kernels::LinearProblem> problems;
  for (int64_t h = 0; h < d.heads; ++h) {
    const auto* w =
        static_cast<const std::byte*>(kv_b.data) + (h * (d.nope + d.v) + d.nope) * d.rank * element;
    problems.push_back({.rows = y.rows(),
                        .in = d.rank,
                        .out = d.v,
                        .x = latent.f32() + h * d.rank,
                        .x_row = d.heads * d.rank,
                        .w = w,
                        .w_type = kv_b.type,
                        .w_row = d.rank,
                        .y = y.f32() + h * d.v,
                        .y_row = d.heads * d.v});
  }
  kernels::linear(ctx.pool, ctx.kernels, problems);
}

}  // namespace

KeysValues mla_keys_values(Context& ctx, const Tensor& kv, const Tensor& k_pe, const MlaDims& d) {
  CHECK(kv.cols() == d.heads * (d.nope + d.v) && k_pe.cols() == d.rope && kv.rows() == k_pe.rows());
  const OpScope scope(ctx, "mla keys and values", 0, 2 * bytes_of(kv, k_pe));
  KeysValues out{Tensor::empty(ctx, {kv.rows(), d.heads * (d.nope + d.rope)}),
                 Tensor::empty(ctx, {kv.rows(), d.heads * d.v})};
  if (!ctx.dry_run()) expand(ctx, kv, k_pe, d, out);
  if (recording(ctx, kv, k_pe)) {
    out.keys.require_gradient(false);
    out.values.require_gradient(false);
    ctx.tape->record(
        out.keys,
        [kv = with_slot(kv.gradient_handle()), k_pe = with_slot(k_pe.gradient_handle()), d,
         keys = out.keys.gradient_handle(), values = out.values.gradient_handle()](const Context& c) {
          const auto dkv = kv.gradient_target(c), dk_pe = k_pe.gradient_target(c);
          CHECK(!dkv.accumulate && !dk_pe.accumulate, "inputs of mla_keys_values are used twice");
          if (!c.dry_run()) {
            expand_backward(c, d, kv.rows(), keys.gradient(), values.gradient(), dkv.data, dk_pe.data);
          }
          values.drop_gradient();
        });
  }
  return out;
}

bool mla_absorbs_as_stored(const Context& ctx, const Tensor& kv_b) {
  if (!kv_b.as_stored()) return false;
  return is_read_as_stored(kv_b) || (ctx.compute == Compute::fast && weighed_type(kv_b).has_value());
}

Tensor mla_absorbed(Context& ctx, const Tensor& q, const Tensor& kv_b, std::span<const int64_t> offsets,
                    std::span<const CachedKeys> cached, const MlaDims& d, float scale,
                    const Format& kv_format) {
  CHECK(ctx.tape == nullptr, "the absorbed form has no gradient");
  const int64_t width = d.rank + d.rope;
  const OpScope scope(ctx, "mla absorb", product_flops(q.rows(), d.rank, d.heads * (d.nope + d.v)),
                      bytes_of(kv_b));
  Tensor absorbed = Tensor::empty(ctx, {q.rows(), d.heads * width});
  Tensor y = Tensor::empty(ctx, {q.rows(), d.heads * d.v});
  if (ctx.dry_run()) return y;
  const bool stored = is_read_as_stored(kv_b);
  const WeightView view = stored ? view_weight(kv_b) : WeightView{};
  if (const auto type = weighed_type(kv_b)) {
    absorb_queries(ctx, q, kv_b, *type, d, absorbed);
  } else {
    absorb_queries_decoding(ctx, q, kv_b, d, absorbed);
  }
  copy_rotated(q, d, absorbed);
  const AttentionOptions options{.heads = d.heads,
                                 .kv_heads = 1,
                                 .qk_dim = width,
                                 .v_dim = d.rank,
                                 .scale = scale,
                                 .kv_format = &kv_format,
                                 .k_row = width,
                                 .v_row = width};
  const Tensor latent = attention_cached(ctx, absorbed, offsets, cached, options);
  if (stored) {
    expand_outputs(ctx, latent, view, d, y);
  } else {
    expand_outputs_streaming(ctx, latent, kv_b, d, y);
  }
  return y;
}

}  // namespace frugal::ops
