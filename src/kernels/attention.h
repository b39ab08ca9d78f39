// Fused attention over ragged sequences (FlashAttention: Dao et al. 2022, arXiv 2205.14135), forward and
// backward; the matrix of scores never exists. Serves training, prefill and decode, multi-head, grouped-query
// and multi-head latent attention: head sizes of keys and values may differ, and values may be the keys' own
// memory (absorbed MLA).
//
// A query's result depends on its own keys only, bit for bit: keys are taken in chunks of kKeyChunk by
// position in the sequence, each chunk gives (maximum, sum of exp, weighted sum of values), and chunks are
// merged in order. So 1 row or 512 rows in a call, 1 thread or 64, give the same bits.
//
// There are two forms, which sum a score in different orders: blocks of keys transposed for register tiles
// (many rows), and keys read as they lie (few rows: decoding, which is bound by memory). The caller chooses
// by what rows are, see AttentionSpan::stream, never by how many there are.
#pragma once

#include <cstdint>
#include <span>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace frugal::kernels {

// One sequence: its queries are rows [query_begin, query_end) of q and out, its keys rows 0 .. keys - 1 of k
// and v. The last query sees all keys; with `causal`, query i sees keys - (query_end - 1 - i) of them.
struct AttentionSpan {
  int64_t query_begin, query_end;
  const void* k;
  const void* v;
  int64_t keys;
  float* dk = nullptr;  // backward: laid out as k and v; no two may overlap
  float* dv = nullptr;
  bool stream = false;  // few rows: read the keys as they lie, unless more than kStreamGroup heads share them
};
// With more query heads to a kv head, transposed blocks are the faster form for a single token too.
constexpr int64_t kStreamGroup = 8;

struct Attention {
  int64_t heads, kv_heads;  // query head h uses kv head h / (heads / kv_heads)
  int64_t qk_dim, v_dim;
  const float* q;  // head h of row i at q + i * q_row + h * qk_dim
  int64_t q_row;
  KvType kv_type = KvType::f32;  // q8_0: qk_dim, v_dim, k_row and v_row are multiples of kQ8Values
  // bf16: queries, keys, values and softmax weights, in the backward also dout and the scores' gradients, are
  // rounded to bf16 and their products added in f32; not where keys are read as they lie or stored in q8_0.
  Precision precision = Precision::f32;
  int64_t k_row,
      v_row;    // head g of key j at k + j * k_row + g * qk_dim and v + j * v_row + g * v_dim, in elements
  float scale;  // above 0; scores are scale * q.k
  bool causal = true;
  int64_t window =
      0;  // 0: none; else a query sees only the last `window` keys, itself included (causal only)
  const float* sinks =
      nullptr;  // (heads): a logit that joins the softmax and is then dropped (gpt-oss), or null
  std::span<const AttentionSpan> spans;
};

// out (rows, heads * v_dim) is overwritten at the spans' rows; head h of row i at out + i * out_row + h *
// v_dim. lse (rows, heads), or null: log of the softmax's denominator, which the backward needs. A query
// without keys gives zeros (and lse -inf, or the sink).
void attention_forward(ThreadPool& pool, const Table& table, const Attention& args, float* out,
                       int64_t out_row, float* lse);

// Gradients of sum(out * dout), out and lse being the forward's of the same precision. Keys and values are
// f32. Into dq (laid out with dq_row, as q) and every span's dk and dv (strides k_row and v_row): added with
// `accumulate`, else what the spans' rows and keys hold is overwritten, and nothing between them. ADDED into
// dsinks (heads; null when args has no sinks or it is not wanted). Scores are computed again from lse: dS = P
// (dP - delta), delta = dot(out, dout) (Dao et al., alg. 4). The order of every sum is fixed: same bits for
// any number of threads.
void attention_backward(ThreadPool& pool, const Table& table, const Attention& args, const float* out,
                        int64_t out_row, const float* dout, int64_t dout_row, const float* lse, float* dq,
                        int64_t dq_row, float* dsinks, bool accumulate);

}  // namespace frugal::kernels
