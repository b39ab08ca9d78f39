// The ops models are made of. Each lives in ops/NAME.cpp: checks, forward and backward side by side. Shapes:
// R rows (tokens of all sequences), D model width, H heads, K kv heads, E experts, F ffn width, V vocabulary.
// Weights are (out, in) as in HF checkpoints. With ctx.tape an op whose inputs need gradients records itself;
// a frozen or quantised weight gets none, and its input still does. Where a matrix has an adapter beside it
// (tensor/low_rank.h) the adapter counts and gets the gradients: in linear, linear_transposed and the experts
// of moe_ffn.
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

// How much what a model says depends on the rounding of a product's input, where Compute::fast multiplies
// block-quantised weights with integers (docs/performance.md, "What fast computing costs"). low: 8 bits, for
// gate, up and attention's output projection; medium: as many as the weight's values have, 8 bits or 15;
// high: 15 bits, for the head.
enum class Sensitivity : uint8_t { low, medium, high };

// x weight^T + bias: (R, in) -> (R, out). `bias` may be empty.
Tensor linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              Sensitivity sensitivity = Sensitivity::medium);

// Several linear layers of one x, which is read and prepared once: (R, in) -> (R, out) each.
struct LinearLayer {
  const Tensor* weight;
  const Tensor* bias;  // may be an empty tensor
  Sensitivity sensitivity = Sensitivity::medium;
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
  // The queries are generated (or verified) tokens: few rows, for which keys are read as they lie. Scores are
  // then summed in another order than a prompt's, so this follows from what the rows are, not from how many.
  bool stream = false;
};
// Rows [begin, end) of `rows` (R, C) f32, stored behind each other at `to` in `format`.
void store_rows(Context& ctx, const Tensor& rows, int64_t begin, int64_t end, const Format& format,
                std::byte* to);
// `count` rows of `width` values stored in `format` at `from`, as f32.
Tensor load_rows(Context& ctx, const std::byte* from, int64_t count, int64_t width, const Format& format);
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
// Prompt rows of one sequence over its cached rows [latent (rank), k_pe (rope)] in `kv_format`: keys and
// values are written out from kv_b (H*(nope+v), rank), some heads at a time. q (R, H*(nope+rope)) -> (R,
// H*v). With Compute::fast and latents in less than f32 they are bf16, which is then what attention
// multiplies. kv_b of any format, without an adapter. No gradient.
Tensor mla_prompt(Context& ctx, const Tensor& q, const Tensor& kv_b, const CachedKeys& cached,
                  const MlaDims& dims, float scale, const Format& kv_format, int64_t memory = 64 << 20);
// The absorbed form for generated rows: q (R, H*(nope+rope)) meets cached rows [latent (rank), k_pe (rope)]
// directly, the up-projection kv_b (H*(nope+v), rank) being folded into q before and into the output after.
// No gradient.
Tensor mla_absorbed(Context& ctx, const Tensor& q, const Tensor& kv_b, std::span<const int64_t> offsets,
                    std::span<const CachedKeys> cached, const MlaDims& dims, float scale,
                    const Format& kv_format);
// Whether the absorbed form reads such a kv_b as it is stored, in both directions, without decoding it.
bool mla_absorbs_as_stored(const Context& ctx, const Tensor& kv_b);

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
  // Every group gives its best top_k / groups experts (mixture of grouped experts, Tang et al. 2025, eq. 6);
  // top_groups and group_score do not matter.
  bool per_group = false;
};
// gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit), g sigmoid(alpha g) (u + 1); plain SwiGLU
// without a limit.
struct SwigluForm {
  float limit = 0, alpha = 1;
};
struct Experts {
  std::span<const Tensor> gate, up, down;  // E each: (F, D), (F, D), (D, F)
  Tensor scale = {};                       // (1, E), learnt, multiplies the routing weights; may be empty
  std::span<const Tensor> gate_bias = {}, up_bias = {}, down_bias = {};  // none, or E each: (F), (F), (D)
  SwigluForm form = {};
};
// Routed experts with SwiGLU (DeepSeek-V3 report §2.1.2). `bias` (E, may be empty) takes part in the choice
// only, `router_bias` (E, may be empty) is added to the router's logits. Gate in f32; ties go to the lowest
// index; no token is dropped. x (R, D) -> (R, D). `offsets` delimit sequences for the balance loss.
Tensor moe_ffn(Context& ctx, const Tensor& x, const Tensor& router, const Tensor& bias,
               const Experts& experts, std::span<const int64_t> offsets, const RouterOptions& options,
               const Tensor& router_bias = {});

// Sum over rows of -log softmax(hidden head^T)[target], over vocabulary rows in chunks: logits are never
// kept. Rows whose target is negative do not count. With a tape the gradients of hidden and head times
// `scale` are added at once.
struct CrossEntropyResult {
  double loss_sum = 0;
  int64_t counted = 0;
};
CrossEntropyResult cross_entropy(Context& ctx, const Tensor& hidden, const Tensor& head,
                                 std::span<const int32_t> targets, float scale);

// log softmax(hidden head^T / temperature)[target] of every row, (R); 0 where the target is negative. For
// losses that weigh tokens or compare models: any function of them has its gradient with respect to hidden
// and head. Logits are never kept: backward makes them again, chunk by chunk (the head's product runs three
// times in all, not two).
Tensor token_log_probs(Context& ctx, const Tensor& hidden, const Tensor& head,
                       std::span<const int32_t> targets, float temperature = 1);

// What a teacher says of every row's next token: the probabilities of some tokens and, as one bucket, of all
// others.
struct SparseTargets {
  std::span<const int64_t>
      offsets;  // (R + 1): row i has ids [offsets[i], offsets[i + 1]); none: the row is skipped
  std::span<const int32_t> ids;    // none twice in a row
  std::span<const float> weights;  // of the ids, not negative
  std::span<const float> tails;    // (R) weight of the bucket; empty: there is none
};
// Sum over rows of -sum_i w_i log q_i - tail log(sum of the q of ids not listed) - hard_weight log q_hard,
// with q = softmax(hidden head^T): what of the forward KL divergence from the teacher (and the cross-entropy
// of `hard` (R), skipped where negative) depends on the student. Chunked as cross_entropy, and its gradients
// times `scale`.
CrossEntropyResult sparse_cross_entropy(Context& ctx, const Tensor& hidden, const Tensor& head,
                                        const SparseTargets& targets, std::span<const int32_t> hard,
                                        float hard_weight, float scale);

// How far a student's distribution q is from a teacher's p, both softmax(logits / temperature):
//   forward_kl          KL(p | q)
//   reverse_kl          KL(q | p)
//   jensen_shannon      b KL(p | m) + (1 - b) KL(q | m), m = b p + (1 - b) q     (GKD, Agarwal et al. 2024,
//   eq. 1) skew_forward_kl     KL(p | b p + (1 - b) q)                          (DistiLLM, Ko et al. 2024,
//   §3.1) skew_reverse_kl     KL(q | (1 - b) p + b q)
enum class Divergence { forward_kl, reverse_kl, jensen_shannon, skew_forward_kl, skew_reverse_kl };
struct DivergenceOptions {
  Divergence kind = Divergence::forward_kl;
  float beta = 0.5f;      // b; in (0, 1)
  float temperature = 1;  // its square is not multiplied in
  float weight = 1;       // of the divergence
  float hard_weight = 0;  // of the cross-entropy of the targets, at temperature 1
};
// Sum over rows with a target (not negative) of weight * divergence + hard_weight * -log q_target. The
// teacher's logits are teacher_hidden teacher_head^T (same rows; no gradient). Models of one tokenizer may
// have padded their vocabularies to other sizes: ids that only one of them has are left out of both
// distributions. Chunked, and its gradients times `scale`.
CrossEntropyResult divergence(Context& ctx, const Tensor& hidden, const Tensor& head,
                              const Tensor& teacher_hidden, const Tensor& teacher_head,
                              std::span<const int32_t> targets, const DivergenceOptions& options,
                              float scale);

// The same between vocabularies that have nothing in common (ULD, Boizard et al. 2025, "Towards
// Cross-Tokenizer Distillation", §3): with both distributions sorted from the most likely word down, the
// shorter one followed by zeros, the divergence is sum_k |p_(k) - q_(k)|, up to a factor their Wasserstein
// distance when all words are equally far from each other. teacher_rows (R) says which row of teacher_hidden
// a row is compared with; -1: none, only the cross-entropy counts there. Of `options` temperature and the two
// weights count.
CrossEntropyResult sorted_distance(Context& ctx, const Tensor& hidden, const Tensor& head,
                                   const Tensor& teacher_hidden, const Tensor& teacher_head,
                                   std::span<const int64_t> teacher_rows, std::span<const int32_t> targets,
                                   const DivergenceOptions& options, float scale);

}  // namespace frugal::ops
