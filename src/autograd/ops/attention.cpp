// Causal attention over ragged sequences (Dao 2022, FlashAttention-2): nothing of size T x T is kept,
// backward recomputes the probabilities from the saved log-sum-exp.
#include "kernels/attention.h"

#include <algorithm>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/matmul.h"
#include "core/error.h"

namespace frugal::ops {
namespace {

kernels::KvType kv_type(const Format& format) {
  if (&format == &formats::f32) return kernels::KvType::f32;
  if (&format == &formats::bf16) return kernels::KvType::bf16;
  CHECK(&format == &formats::q8_0, "keys and values in {}", format.name);
  return kernels::KvType::q8_0;
}

kernels::Attention describe(const Tensor& q, const AttentionOptions& o, const Tensor& sinks) {
  kernels::Attention a{};
  a.heads = o.heads;
  a.kv_heads = o.kv_heads;
  a.qk_dim = o.qk_dim;
  a.v_dim = o.v_dim;
  a.q = q.f32();
  a.q_row = o.heads * o.qk_dim;
  a.kv_type = kv_type(*o.kv_format);
  a.k_row = o.k_row > 0 ? o.k_row : o.kv_heads * o.qk_dim;
  a.v_row = o.v_row > 0 ? o.v_row : o.kv_heads * o.v_dim;
  a.scale = o.scale;
  a.window = o.window;
  a.sinks = sinks ? sinks.f32() : nullptr;
  return a;
}

std::vector<kernels::AttentionSpan> own_spans(const Tensor& k, const Tensor& v,
                                              const std::vector<int64_t>& offsets, float* dk, float* dv) {
  std::vector<kernels::AttentionSpan> spans;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const int64_t begin = offsets[s], end = offsets[s + 1];
    if (begin == end) continue;
    kernels::AttentionSpan span{begin, end, k.f32() + begin * k.cols(), v.f32() + begin * v.cols(),
                                end - begin};
    if (dk != nullptr) span.dk = dk + begin * k.cols();
    if (dv != nullptr) span.dv = dv + begin * v.cols();
    spans.push_back(span);
  }
  return spans;
}

// Scores and values of every pair of a query and a key it sees, and the keys and values once for each
// sequence.
struct Work {
  double flops = 0, bytes = 0;
};
Work work_of(const AttentionOptions& o, int64_t queries, int64_t keys) {
  double seen = static_cast<double>(keys) - static_cast<double>(queries - 1) / 2;
  if (o.window > 0) seen = std::min(seen, static_cast<double>(o.window));
  const double pairs = static_cast<double>(queries) * seen * static_cast<double>(o.heads);
  const int64_t row = o.k_row > 0 ? o.k_row : o.kv_heads * (o.qk_dim + o.v_dim);
  return {2 * pairs * static_cast<double>(o.qk_dim + o.v_dim),
          static_cast<double>(o.kv_format->bytes(row)) *
              std::min(static_cast<double>(keys), seen + static_cast<double>(queries))};
}

}  // namespace

Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                 std::span<const int64_t> offsets, const AttentionOptions& o, const Tensor& sinks) {
  CHECK(q.cols() == o.heads * o.qk_dim && k.cols() == o.kv_heads * o.qk_dim &&
        v.cols() == o.kv_heads * o.v_dim);
  CHECK(k.rows() == q.rows() && v.rows() == q.rows() && offsets.back() == q.rows());
  CHECK(o.kv_format == &formats::f32);
  const std::vector<int64_t> bounds(offsets.begin(), offsets.end());
  Work work;
  for (size_t s = 0; s + 1 < bounds.size(); ++s) {
    const Work own = work_of(o, bounds[s + 1] - bounds[s], bounds[s + 1] - bounds[s]);
    work.flops += own.flops;
    work.bytes += own.bytes;
  }
  const OpScope scope(ctx, "attention", work.flops, work.bytes);
  const bool record = recording(ctx, q, k, v, sinks);
  Tensor y = Tensor::empty(ctx, {q.rows(), o.heads * o.v_dim});
  Tensor lse = record ? Tensor::empty(ctx, {q.rows(), o.heads}) : Tensor{};
  if (!ctx.dry_run()) {
    kernels::Attention a = describe(q, o, sinks);
    const auto spans = own_spans(k, v, bounds, nullptr, nullptr);
    a.spans = spans;
    a.precision = precision(ctx);
    kernels::attention_forward(ctx.pool, ctx.kernels, a, y.f32(), y.cols(), record ? lse.f32() : nullptr);
  }
  if (record) {
    y.require_gradient(false);
    ctx.tape->record(y, [q = with_slot(q), k = with_slot(k), v = with_slot(v), sinks, y, lse, bounds,
                         o](const Context& c) {
      // Written in one pass when all are fresh; the kernel adds to all or to none.
      const bool accumulate = q.has_gradient() || k.has_gradient() || v.has_gradient();
      const auto into = [&](const Tensor& x) {
        return accumulate ? x.gradient_sum(c) : x.gradient_target(c).data;
      };
      float *dq = into(q), *dk = into(k), *dv = into(v);
      float* dsinks = sinks && sinks.needs_gradient() ? sinks.gradient_sum(c) : nullptr;
      if (c.dry_run()) return;
      kernels::Attention a = describe(q, o, sinks);
      const auto spans = own_spans(k, v, bounds, dk, dv);
      a.spans = spans;
      a.precision = precision(c);
      kernels::attention_backward(c.pool, c.kernels, a, y.f32(), y.cols(), y.gradient(), y.cols(), lse.f32(),
                                  dq, q.cols(), dsinks, accumulate);
    });
  }
  return y;
}

Tensor attention_cached(Context& ctx, const Tensor& q, std::span<const int64_t> offsets,
                        std::span<const CachedKeys> cached, const AttentionOptions& o, const Tensor& sinks) {
  CHECK(ctx.tape == nullptr, "attention over a cache has no gradient");
  CHECK(cached.size() + 1 == offsets.size());
  Work work;
  for (size_t s = 0; s < cached.size(); ++s) {
    const Work own = work_of(o, offsets[s + 1] - offsets[s], cached[s].keys);
    work.flops += own.flops;
    work.bytes += own.bytes;
  }
  const OpScope scope(ctx, "attention over cache", work.flops, work.bytes);
  Tensor y = Tensor::empty(ctx, {q.rows(), o.heads * o.v_dim});
  if (ctx.dry_run()) return y;
  kernels::Attention a = describe(q, o, sinks);
  // Rounding queries has its price (docs/log.md), so it is for where arithmetic is the bound: many heads on
  // the same latents, which are keys and values in one.
  const auto latents = [](const CachedKeys& c) { return c.k == c.v; };
  if (ctx.compute == Compute::fast && a.kv_type == kernels::KvType::bf16 &&
      std::ranges::all_of(cached, latents)) {
    a.precision = kernels::Precision::bf16;
  }
  std::vector<kernels::AttentionSpan> spans;
  for (size_t s = 0; s < cached.size(); ++s) {
    if (offsets[s] == offsets[s + 1]) continue;
    spans.push_back({.query_begin = offsets[s],
                     .query_end = offsets[s + 1],
                     .k = cached[s].k,
                     .v = cached[s].v,
                     .keys = cached[s].keys,
                     .stream = cached[s].stream});
  }
  a.spans = spans;
  kernels::attention_forward(ctx.pool, ctx.kernels, a, y.f32(), y.cols(), nullptr);
  return y;
}

}  // namespace frugal::ops
