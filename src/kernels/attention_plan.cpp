#include "kernels/attention_plan.h"

#include <algorithm>

#include "core/error.h"

namespace frugal::kernels {

void check_attention(const Attention& a) {
  CHECK(a.heads > 0 && a.kv_heads > 0 && a.heads % a.kv_heads == 0, "{} heads over {} kv heads", a.heads,
        a.kv_heads);
  CHECK(a.qk_dim > 0 && a.v_dim > 0, "head sizes {} and {}", a.qk_dim, a.v_dim);
  CHECK(a.scale > 0, "scale {} must be above 0", a.scale);
  CHECK(a.kv_type != KvType::q4_0, "keys and values in q4_0");
  if (a.kv_type == KvType::q8_0) {
    CHECK((a.qk_dim | a.v_dim | a.k_row | a.v_row) % kQ8Values == 0,
          "heads of {} and {} in rows of {} and {} are not blocks of {}", a.qk_dim, a.v_dim, a.k_row, a.v_row,
          kQ8Values);
  }
  CHECK(a.window >= 0 && (a.window == 0 || a.causal), "a window of {} needs causal attention", a.window);
  for (const AttentionSpan& span : a.spans) {
    const int64_t queries = span.query_end - span.query_begin;
    CHECK(queries >= 0 && span.keys >= 0, "span of {} queries and {} keys", queries, span.keys);
    CHECK(!a.causal || span.keys >= queries, "causal span of {} queries has only {} keys", queries,
          span.keys);
  }
}

AttentionHead attention_head(const Attention& a, const AttentionSpan& span, int64_t kv_head) {
  const int64_t group = a.heads / a.kv_heads;
  const auto at = [&](const void* base, int64_t offset) -> const void* {
    return static_cast<const std::byte*>(base) + kv_bytes(a.kv_type, offset);
  };
  return {.queries = span.query_end - span.query_begin,
          .group = group,
          .keys = span.keys,
          .qk_dim = a.qk_dim,
          .v_dim = a.v_dim,
          .v_padded = padded(a.v_dim),
          .q = a.q + span.query_begin * a.q_row + kv_head * group * a.qk_dim,
          .q_row = a.q_row,
          .kv_type = a.kv_type,
          .k = at(span.k, kv_head * a.qk_dim),
          .v = at(span.v, kv_head * a.v_dim),
          .k_row = a.k_row,
          .v_row = a.v_row,
          .k_bytes = kv_bytes(a.kv_type, a.k_row),
          .v_bytes = kv_bytes(a.kv_type, a.v_row),
          .scale = a.scale,
          .causal = a.causal,
          .window = a.window,
          .stream = span.stream && group <= kStreamGroup,
          .rounded = a.precision == Precision::bf16 && a.kv_type != KvType::q8_0};
}

KeyRange keys_seen(const AttentionHead& h, int64_t row_begin, int64_t row_end) {
  if (row_begin >= row_end) return {0, 0};
  const auto end_of = [&](int64_t row) {
    return h.causal ? h.keys - (h.queries - 1 - row / h.group) : h.keys;
  };
  const int64_t first_end = end_of(row_begin);
  return {h.window > 0 ? std::max<int64_t>(0, first_end - h.window) : 0, end_of(row_end - 1)};
}

double attention_work(const AttentionHead& h, int64_t row_begin, int64_t row_end) {
  if (row_begin >= row_end) return 0;
  const KeyRange first = keys_seen(h, row_begin, row_begin + 1), last = keys_seen(h, row_end - 1, row_end);
  const auto mean = static_cast<double>(first.end - first.begin + last.end - last.begin) / 2;
  return static_cast<double>(row_end - row_begin) * (mean + 1);
}

}  // namespace frugal::kernels
