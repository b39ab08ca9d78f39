// Attention test cases: random ragged inputs and the naive formula in double, which forms every score.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/arrays.h"
#include "kernels/attention.h"
#include "kernels/dispatch.h"

namespace frugal::kernels {

struct AttentionCase {
  std::string name;
  int64_t heads, kv_heads, qk_dim, v_dim;
  std::vector<std::pair<int64_t, int64_t>> spans;  // queries, keys of each sequence
  bool causal = true;
  int64_t window = 0;
  bool sinks = false;
  bool values_are_keys = false;  // absorbed MLA: v is the first v_dim columns of k

  bool blocks() const { return qk_dim % kQ8Values == 0 && v_dim % kQ8Values == 0; }  // can be q8_0
};

// q8_0 as GGUF has it, scales being powers of two, so that they need no rounding to f16.
inline std::vector<char> to_blocks(const Floats& x) {
  std::vector<char> out;
  for (size_t i = 0; i < x.size(); i += kQ8Values) {
    float most = 0;
    for (size_t j = 0; j < kQ8Values; ++j) most = std::max(most, std::fabs(x[i + j]));
    int exponent = 0;
    std::frexp(most / 127, &exponent);  // most <= 127 * 2^exponent
    const auto half = static_cast<uint16_t>((exponent + 15) << 10);
    out.push_back(static_cast<char>(half & 0xff));
    out.push_back(static_cast<char>(half >> 8));
    for (size_t j = 0; j < kQ8Values; ++j)
      out.push_back(static_cast<char>(std::lround(std::ldexp(x[i + j], -exponent))));
  }
  return out;
}
inline Floats from_blocks(const std::vector<char>& blocks) {
  Floats out;
  for (size_t i = 0; i < blocks.size(); i += kQ8Bytes) {
    const int exponent = (static_cast<uint8_t>(blocks[i + 1]) >> 2) - 15;
    for (size_t j = 2; j < kQ8Bytes; ++j)
      out.push_back(std::ldexp(static_cast<float>(static_cast<int8_t>(blocks[i + j])), exponent));
  }
  return out;
}

inline Floats rounded_to_bf16(const Floats& x) {
  std::vector<uint16_t> halves(x.size());
  Floats out(x.size());
  best().f32_to_bf16(static_cast<int64_t>(x.size()), x.data(), halves.data());
  best().bf16_to_f32(static_cast<int64_t>(x.size()), halves.data(), out.data());
  return out;
}

// Arrays of a case. Strides are wider than needed, so that a wrong one shows.
struct AttentionArrays {
  AttentionCase shape;
  int64_t rows = 0, keys = 0, q_row, k_row, v_row, out_row;
  float scale;
  Floats q, k, v, sinks, dout;
  std::vector<int64_t> first_key;  // of each span, in the arrays of all keys

  explicit AttentionArrays(const AttentionCase& c) : shape(c) {
    for (const auto& [queries, span_keys] : c.spans) {
      first_key.push_back(keys);
      rows += queries;
      keys += span_keys;
    }
    q_row = c.heads * c.qk_dim + 2;
    k_row = c.kv_heads * c.qk_dim + (c.blocks() ? kQ8Values : 3);
    v_row = c.values_are_keys ? k_row : c.kv_heads * c.v_dim + (c.blocks() ? kQ8Values : 5);
    out_row = c.heads * c.v_dim + 1;
    scale = 1.0f / std::sqrt(static_cast<float>(c.qk_dim));
    q = random_floats(rows * q_row, 31, 1.5);
    k = random_floats(keys * k_row, 32, 1.5);
    v = c.values_are_keys ? k : random_floats(keys * v_row, 33);
    sinks = random_floats(c.heads, 34, 2.0);
    dout = random_floats(rows * out_row, 35);
  }

  // The case on the numbers that products in bf16 have.
  AttentionArrays rounded() const {
    AttentionArrays a = *this;
    for (Floats* x : {&a.q, &a.k, &a.v, &a.dout}) *x = rounded_to_bf16(*x);
    return a;
  }
};

// The case as a call; the arrays must outlive it. In bf16 and q8_0, k and v are read from its own copies.
struct AttentionCall {
  std::vector<AttentionSpan> spans;
  std::vector<uint16_t> half_k, half_v;
  std::vector<char> blocks_k, blocks_v;
  Attention args;

  AttentionCall(const AttentionArrays& a, KvType type, const Table& table, bool stream = false) {
    if (type == KvType::q8_0) blocks_k = to_blocks(a.k), blocks_v = to_blocks(a.v);
    if (type == KvType::bf16) {
      half_k.resize(a.k.size());
      half_v.resize(a.v.size());
      table.f32_to_bf16(static_cast<int64_t>(a.k.size()), a.k.data(), half_k.data());
      table.f32_to_bf16(static_cast<int64_t>(a.v.size()), a.v.data(), half_v.data());
    }
    int64_t row = 0;
    for (size_t i = 0; i < a.shape.spans.size(); ++i) {
      const auto [queries, keys] = a.shape.spans[i];
      const int64_t k_at = a.first_key[i] * a.k_row, v_at = a.first_key[i] * a.v_row;
      AttentionSpan span{.query_begin = row,
                         .query_end = row + queries,
                         .k = a.k.data() + k_at,
                         .v = a.v.data() + v_at,
                         .keys = keys,
                         .stream = stream};
      if (type == KvType::bf16) span.k = half_k.data() + k_at, span.v = half_v.data() + v_at;
      if (type == KvType::q8_0) {
        span.k = blocks_k.data() + k_at / kQ8Values * kQ8Bytes;
        span.v = blocks_v.data() + v_at / kQ8Values * kQ8Bytes;
      }
      if (a.shape.values_are_keys) span.v = span.k;
      spans.push_back(span);
      row += queries;
    }
    args = {.heads = a.shape.heads,
            .kv_heads = a.shape.kv_heads,
            .qk_dim = a.shape.qk_dim,
            .v_dim = a.shape.v_dim,
            .q = a.q.data(),
            .q_row = a.q_row,
            .kv_type = type,
            .k_row = a.k_row,
            .v_row = a.v_row,
            .scale = a.scale,
            .causal = a.shape.causal,
            .window = a.shape.window,
            .sinks = a.shape.sinks ? a.sinks.data() : nullptr,
            .spans = spans};
  }
};

// out and lse of every row by the formula; with `grads`, also dq, dk, dv, dsinks of sum(out * dout).
struct AttentionReference {
  Doubles out, lse, dq, dk, dv, dsinks;

  explicit AttentionReference(const AttentionArrays& a)
      : out(index_of(a.rows * a.out_row)),
        lse(index_of(a.rows * a.shape.heads)),
        dq(a.q.size()),
        dk(a.k.size()),
        dv(a.v.size()),
        dsinks(index_of(a.shape.heads)) {
    int64_t row = 0;
    for (size_t s = 0; s < a.shape.spans.size(); ++s) {
      const auto [queries, keys] = a.shape.spans[s];
      for (int64_t i = 0; i < queries; ++i, ++row) {
        const int64_t end = a.shape.causal ? keys - (queries - 1 - i) : keys;
        const int64_t begin = a.shape.window > 0 ? std::max<int64_t>(0, end - a.shape.window) : 0;
        for (int64_t h = 0; h < a.shape.heads; ++h)
          one_row(a, row, h, a.first_key[s] + begin, a.first_key[s] + end);
      }
    }
  }

 private:
  void one_row(const AttentionArrays& a, int64_t row, int64_t h, int64_t begin, int64_t end) {
    const int64_t g = h / (a.shape.heads / a.shape.kv_heads), D = a.shape.qk_dim, E = a.shape.v_dim;
    const int64_t q_at = row * a.q_row + h * D, o_at = row * a.out_row + h * E;
    const auto k_at = [&](int64_t j) { return j * a.k_row + g * D; };
    const auto v_at = [&](int64_t j) { return j * a.v_row + g * E; };
    Doubles p;
    double most = a.shape.sinks ? double{a.sinks[index_of(h)]} : -std::numeric_limits<double>::infinity(),
           sum = 0;
    for (int64_t j = begin; j < end; ++j) {
      double score = 0;
      for (int64_t d = 0; d < D; ++d)
        score += double{a.q[index_of(q_at + d)]} * double{a.k[index_of(k_at(j) + d)]};
      p.push_back(score * double{a.scale});
      most = std::max(most, p.back());
    }
    for (double& x : p) x = std::exp(x - most), sum += x;
    const double sink = a.shape.sinks ? std::exp(double{a.sinks[index_of(h)]} - most) : 0;
    sum += sink;
    lse[index_of(row * a.shape.heads + h)] = most + std::log(sum);
    if (p.empty() && !a.shape.sinks) {
      lse[index_of(row * a.shape.heads + h)] = -std::numeric_limits<double>::infinity();
      return;
    }
    double delta = 0;
    Doubles dp(p.size());
    for (int64_t j = begin; j < end; ++j) {
      double& weight = p[index_of(j - begin)];
      weight /= sum;
      for (int64_t e = 0; e < E; ++e) {
        const double grad = double{a.dout[index_of(o_at + e)]}, value = double{a.v[index_of(v_at(j) + e)]};
        out[index_of(o_at + e)] += weight * value;
        dp[index_of(j - begin)] += grad * value;
        dv[index_of(v_at(j) + e)] += weight * grad;
      }
      delta += weight * dp[index_of(j - begin)];
    }
    if (a.shape.sinks) dsinks[index_of(h)] -= sink / sum * delta;
    for (int64_t j = begin; j < end; ++j) {
      const double ds = p[index_of(j - begin)] * (dp[index_of(j - begin)] - delta) * double{a.scale};
      for (int64_t d = 0; d < D; ++d) {
        dq[index_of(q_at + d)] += ds * double{a.k[index_of(k_at(j) + d)]};
        dk[index_of(k_at(j) + d)] += ds * double{a.q[index_of(q_at + d)]};
      }
    }
  }
};

// Odd sizes, grouped heads, unequal head sizes, chunked prefill (keys > queries), windows, sinks, several
// chunks.
inline std::vector<AttentionCase> attention_cases() {
  return {
      {.name = "one token", .heads = 1, .kv_heads = 1, .qk_dim = 1, .v_dim = 1, .spans = {{1, 1}}},
      {.name = "training",
       .heads = 3,
       .kv_heads = 3,
       .qk_dim = 24,
       .v_dim = 16,
       .spans = {{70, 70}, {70, 70}}},
      {.name = "grouped",
       .heads = 6,
       .kv_heads = 2,
       .qk_dim = 20,
       .v_dim = 36,
       .spans = {{37, 37}, {1, 1}, {5, 9}}},
      {.name = "odd",
       .heads = 2,
       .kv_heads = 1,
       .qk_dim = 7,
       .v_dim = 5,
       .spans = {{13, 300}, {0, 4}, {29, 31}}},
      {.name = "chunks",
       .heads = 2,
       .kv_heads = 2,
       .qk_dim = 16,
       .v_dim = 16,
       .spans = {{530, 530}, {3, 1100}}},
      {.name = "decode",
       .heads = 4,
       .kv_heads = 1,
       .qk_dim = 40,
       .v_dim = 32,
       .spans = {{1, 700}, {1, 256}, {1, 257}, {2, 513}},
       .values_are_keys = true},
      {.name = "blocks",
       .heads = 6,
       .kv_heads = 2,
       .qk_dim = 64,
       .v_dim = 32,
       .spans = {{1, 700}, {7, 300}, {3, 3}}},
      {.name = "blocks, one row",
       .heads = 4,
       .kv_heads = 1,
       .qk_dim = 96,
       .v_dim = 64,
       .spans = {{2, 290}, {1, 513}},
       .values_are_keys = true},
      {.name = "many heads to a key",
       .heads = 10,
       .kv_heads = 1,
       .qk_dim = 96,
       .v_dim = 64,
       .spans = {{1, 290}},
       .values_are_keys = true},
      {.name = "heads that fill vectors",
       .heads = 16,
       .kv_heads = 1,
       .qk_dim = 38,
       .v_dim = 20,
       .spans = {{1, 321}, {3, 90}, {2, 65}, {1, 7}},
       .values_are_keys = true},
      {.name = "the same in a window",
       .heads = 13,
       .kv_heads = 1,
       .qk_dim = 34,
       .v_dim = 34,
       .spans = {{2, 300}, {1, 600}},
       .window = 70,
       .values_are_keys = true},
      {.name = "window",
       .heads = 2,
       .kv_heads = 1,
       .qk_dim = 8,
       .v_dim = 16,
       .spans = {{200, 200}, {1, 600}, {90, 400}},
       .window = 70},
      {.name = "window of one",
       .heads = 1,
       .kv_heads = 1,
       .qk_dim = 8,
       .v_dim = 8,
       .spans = {{9, 300}},
       .window = 1},
      {.name = "sinks",
       .heads = 4,
       .kv_heads = 2,
       .qk_dim = 16,
       .v_dim = 8,
       .spans = {{40, 40}, {2, 290}},
       .sinks = true},
      {.name = "sinks, window",
       .heads = 2,
       .kv_heads = 2,
       .qk_dim = 16,
       .v_dim = 8,
       .spans = {{300, 300}},
       .window = 128,
       .sinks = true},
      {.name = "both ways",
       .heads = 2,
       .kv_heads = 1,
       .qk_dim = 12,
       .v_dim = 10,
       .spans = {{9, 40}, {50, 3}, {300, 270}},
       .causal = false},
      {.name = "no keys",
       .heads = 2,
       .kv_heads = 2,
       .qk_dim = 4,
       .v_dim = 4,
       .spans = {{2, 0}, {1, 5}},
       .causal = false},
  };
}

}  // namespace frugal::kernels
