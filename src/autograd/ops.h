// The ops models are made of. Each lives in ops/NAME.cpp: checks, forward and backward side by side. Shapes:
// R rows (tokens of all sequences), D model width, H heads, K kv heads, E experts, F ffn width, V vocabulary.
// Weights are (out, in) as in HF checkpoints. With ctx.tape an op whose inputs need gradients records itself;
// a frozen or quantised weight gets none, and its input still does.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "autograd/aux.h"
#include "autograd/tape.h"
#include "tensor/tensor.h"

namespace frugal::ops {

// (R, D): row i is table[tokens[i]]. Token ids outside the table are a CHECK failure: callers validate input.
Tensor embedding(Context& ctx, std::span<const int32_t> tokens, const Tensor& table);

// x weight^T + bias: (R, in) -> (R, out). `bias` may be empty.
Tensor linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// Several linear layers of one x, which is read and prepared once: (R, in) -> (R, out) each.
struct LinearLayer {
  const Tensor* weight;
  const Tensor* bias;  // may be an empty tensor
};
std::vector<Tensor> linears(Context& ctx, const Tensor& x, std::span<const LinearLayer> layers);

// x weight + bias with weight (in, out), as GPT-2 stores it.
Tensor linear_transposed(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// a + b, same shape.
Tensor add(Context& ctx, const Tensor& a, const Tensor& b);

// x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019).
Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& weight, float eps);

// (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension (Ba et al. 2016).
Tensor layer_norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, float eps);

// x Phi(x): exact, or the tanh approximation of Hendrycks & Gimpel 2016 (GPT-2).
enum class GeluForm { erf, tanh };
Tensor gelu(Context& ctx, const Tensor& x, GeluForm form);

// Row i of x times sigmoid(gate[i]): x (R, D), gate (R, 1).
Tensor sigmoid_gate(Context& ctx, const Tensor& x, const Tensor& gate);

// silu(gate) * up (Shazeer 2020).
Tensor swiglu(Context& ctx, const Tensor& gate, const Tensor& up);

// Columns [begin, end) of x (R, C) as a tensor of their own.
Tensor columns(Context& ctx, const Tensor& x, int64_t begin, int64_t end);
// [a, b] side by side: (R, A), (R, B) -> (R, A + B).
Tensor concat_columns(Context& ctx, const Tensor& a, const Tensor& b);
// Row i of the result is row indices[i] of x.
Tensor gather_rows(Context& ctx, const Tensor& x, std::span<const int64_t> indices);

enum class RopePairing { interleaved, halves };
struct RopeOptions {
  int64_t heads;     // heads side by side in a row
  int64_t head_dim;  // width of one head in the row
  int64_t offset;    // where in the head the rotated part starts
  int64_t dim;       // width of the rotated part
  RopePairing pairing;
};
// Rotates x in place (its producer must not need its output) by positions[i] of row i. `table`: (positions,
// dim/2, 2) of cos, sin.
Tensor rope(Context& ctx, Tensor x, const Tensor& table, std::span<const int32_t> positions,
            const RopeOptions& options);

// Keys and values of one sequence that do not come from k, v of the same call: what the cache holds.
struct CachedKeys {
  const void* k;
  const void* v;
  int64_t keys;
};
struct AttentionOptions {
  int64_t heads, kv_heads, qk_dim, v_dim;
  float scale;
  int64_t window = 0;  // 0: unlimited; else the last `window` keys, the query's own included
  const Format* kv_format = &formats::f32;
  int64_t k_row = 0, v_row = 0;  // cached row strides in values; 0 for kv_heads * dim
};
// softmax(q k^T scale) v per head and sequence, causal, never materialising T x T (Dao 2022). q (R,
// H*qk_dim), k (R, K*qk_dim), v (R, K*v_dim) -> (R, H*v_dim). `offsets` (S+1) delimit the sequences. `sinks`
// (H) may be empty.
Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                 std::span<const int64_t> offsets, const AttentionOptions& options, const Tensor& sinks = {});
// The same against cached keys, one entry per sequence; the last query of a sequence sees all of its keys. No
// gradient.
Tensor attention_cached(Context& ctx, const Tensor& q, std::span<const int64_t> offsets,
                        std::span<const CachedKeys> cached, const AttentionOptions& options,
                        const Tensor& sinks = {});

// MLA, DeepSeek-V2 paper §2.1: from the up-projected latents kv (R, H*(nope+v)) and the shared rotated key
// k_pe (R, rope) to keys (R, H*(nope+rope)) and values (R, H*v).
struct KeysValues {
  Tensor keys, values;
};
struct MlaDims {
  int64_t heads, nope, rope, v, rank;
};
KeysValues mla_keys_values(Context& ctx, const Tensor& kv, const Tensor& k_pe, const MlaDims& dims);
// The absorbed form for generated rows: q (R, H*(nope+rope)) meets cached rows [latent (rank), k_pe (rope)]
// directly, the up-projection kv_b (H*(nope+v), rank) being folded into q before and into the output after.
// No gradient.
Tensor mla_absorbed(Context& ctx, const Tensor& q, const Tensor& kv_b, std::span<const int64_t> offsets,
                    std::span<const CachedKeys> cached, const MlaDims& dims, float scale,
                    const Format& kv_format);

enum class RouterScore { sigmoid, softmax };
enum class GroupScore { top2_sum, max };
struct RouterOptions {
  int64_t experts, top_k;
  int64_t groups = 1, top_groups = 1;
  RouterScore score = RouterScore::sigmoid;
  GroupScore group_score = GroupScore::top2_sum;
  bool normalise = true;  // weights of the chosen experts sum to 1 before scaling
  float scale = 1;
  int layer = 0;  // where ctx.aux counts
};
struct Experts {
  std::span<const Tensor> gate, up, down;  // E each: (F, D), (F, D), (D, F)
};
// Routed experts with SwiGLU (DeepSeek-V3 report §2.1.2). `bias` (E, may be empty) takes part in the choice
// only. Gate in f32; ties go to the lowest index; no token is dropped. x (R, D) -> (R, D). `offsets` delimit
// sequences for the balance loss.
Tensor moe_ffn(Context& ctx, const Tensor& x, const Tensor& router, const Tensor& bias,
               const Experts& experts, std::span<const int64_t> offsets, const RouterOptions& options);

// Sum over rows of -log softmax(hidden head^T)[target], over vocabulary rows in chunks: logits are never
// kept. Rows whose target is negative do not count. With a tape the gradients of hidden and head times
// `scale` are added at once.
struct CrossEntropyResult {
  double loss_sum = 0;
  int64_t counted = 0;
};
CrossEntropyResult cross_entropy(Context& ctx, const Tensor& hidden, const Tensor& head,
                                 std::span<const int32_t> targets, float scale);

}  // namespace frugal::ops
