// Arguments of the row-wise kernels: plain structs shared by callers (rowwise.h) and kernel bodies (impl/),
// so this header includes C headers only. Arrays are row-major; a *_row stride (floats from one row to the
// next) of 0 means contiguous rows. Unless stated, outputs are overwritten, and an output may be the same
// array as an input of the same shape and stride. Parameter gradients are always added to.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace frugal::kernels {

// y = x * inv * weight with inv = 1 / sqrt(mean(x^2) + eps) (Zhang & Sennrich 2019, eq. 4).
struct RmsNorm {
  int64_t rows, dim;
  const float* x;  // (rows, dim)
  int64_t x_row = 0;
  const float* weight = nullptr;  // (dim), or null for all ones
  float eps;
  float* y;  // (rows, dim)
  int64_t y_row = 0;
  float* inv_rms = nullptr;  // (rows) for the backward, or null
};

// dx = inv * (weight * dy - x * inv^2 * mean(weight * dy * x)); dweight += sum over rows of dy * x * inv.
struct RmsNormGrad {
  int64_t rows, dim;
  const float* dy;
  int64_t dy_row = 0;
  const float* x;
  int64_t x_row = 0;
  const float* weight = nullptr;
  const float* inv_rms;  // (rows), from the forward
  float* dx = nullptr;   // overwritten, or added to with `accumulate`; null: not wanted
  int64_t dx_row = 0;
  bool accumulate = false;
  float* dweight = nullptr;  // (dim), added to; null: not wanted
};

// y = (x - mean) * inv_std * weight + bias, inv_std = 1 / sqrt(variance + eps), the variance of the
// population.
struct LayerNorm {
  int64_t rows, dim;
  const float* x;
  int64_t x_row = 0;
  const float* weight = nullptr;  // (dim), or null for all ones
  const float* bias = nullptr;    // (dim), or null for zeros
  float eps;
  float* y;
  int64_t y_row = 0;
  float *mean = nullptr, *inv_std = nullptr;  // (rows) each, for the backward, or both null
};

struct LayerNormGrad {
  int64_t rows, dim;
  const float* dy;
  int64_t dy_row = 0;
  const float* x;
  int64_t x_row = 0;
  const float* weight = nullptr;
  const float *mean, *inv_std;  // (rows), from the forward
  float* dx = nullptr;          // overwritten, or added to with `accumulate`; null: not wanted
  int64_t dx_row = 0;
  bool accumulate = false;
  float *dweight = nullptr, *dbias = nullptr;  // (dim), added to; null: not wanted
};

// Which two elements of a head rotate together: (2i, 2i + 1) as DeepSeek and GPT-J, or (i, i + dim / 2) as
// Llama in Hugging Face's layout.
enum class Pairing : uint8_t { interleaved, halves };

// In place: (a, b) -> (a cos - b sin, a sin + b cos); `inverse` turns the other way, which is the backward.
struct Rope {
  int64_t rows, heads, dim;  // dim is even: the rotated elements of a head
  float* x;                  // head h of row i begins at x + i * row_stride + h * head_stride
  int64_t row_stride, head_stride;
  const float* cos_sin;      // (positions, dim / 2, 2)
  const int32_t* positions;  // (rows)
  Pairing pairing;
  bool inverse = false;
};

// out = silu(gate) * up (Shazeer 2020, "GLU variants"); gate and up may be halves of one (rows, 2 cols)
// array. With a limit above 0, gpt-oss's form (its model.py, swiglu): g = min(gate, limit),
// u = max(min(up, limit), -limit), out = g sigmoid(alpha g) (u + 1).
struct Swiglu {
  int64_t rows, cols;
  const float* gate;
  int64_t gate_row = 0;
  const float* up;
  int64_t up_row = 0;
  float* out;
  int64_t out_row = 0;
  float limit = 0, alpha = 1;
};

struct SwigluGrad {
  int64_t rows, cols;
  const float* gate;
  int64_t gate_row = 0;
  const float* up;
  int64_t up_row = 0;
  const float* dout;
  int64_t dout_row = 0;
  float* dgate;  // overwritten; may be gate or up or dout itself
  int64_t dgate_row = 0;
  float* dup;
  int64_t dup_row = 0;
  float limit = 0, alpha = 1;
};

// erf: x Phi(x), exact to 2e-7. tanh: the approximation of Hendrycks & Gimpel 2016 that GPT-2 uses.
enum class Gelu : uint8_t { erf, tanh };

// losses = lse - logit[target]; with `gradient` the logits become (softmax - onehot(target)) * scale.
// A row whose target is negative is ignored: loss 0, lse 0, gradient 0.
struct CrossEntropy {
  int64_t rows, vocab;
  float* logits;  // (rows, vocab)
  int64_t logits_row = 0;
  const int32_t* targets;  // (rows), below vocab
  bool gradient = false;
  float scale = 1;
  float* losses;         // (rows)
  float* lse = nullptr;  // (rows) log of the sum of exp, or null
};

// out[i] = x[index[i]]; a negative index gives a row of zeros.
struct GatherRows {
  int64_t rows, dim;  // rows of the output
  const float* x;
  int64_t x_row = 0;
  const int32_t* index;  // (rows)
  float* out;
  int64_t out_row = 0;
};

// out[index[i]] += weight[i] * x[i], i ascending; a negative index is skipped. out must not overlap x.
struct ScatterAddRows {
  int64_t rows, dim;  // rows of the input
  const float* x;
  int64_t x_row = 0;
  const int32_t* index;           // (rows), below out_rows
  const float* weight = nullptr;  // (rows), or null for ones
  float* out;                     // (out_rows, dim), added to
  int64_t out_row = 0;
  int64_t out_rows;
};

// Weighted sum of k rows each: out[i] = sum_j weight[i,j] * x[slot[i,j]], j ascending; negative slots are
// skipped. This is both the output of a mixture of experts and, without weights, the backward of the gather
// before it.
struct CombineRows {
  int64_t rows, dim, k;
  const float* x;  // (slots, dim)
  int64_t x_row = 0;
  const int32_t* slot;            // (rows, k)
  const float* weight = nullptr;  // (rows, k), or null for ones
  float* out;                     // (rows, dim), overwritten, or added to with `accumulate`
  int64_t out_row = 0;
  bool accumulate = false;
};

// The backward of CombineRows: dx[slot[i,j]] = weight[i,j] * dout[i]; dweight[i,j] = dot(dout[i],
// x[slot[i,j]]), 0 for a skipped slot. A slot must not appear twice.
struct CombineRowsGrad {
  int64_t rows, dim, k;
  const float* dout;  // (rows, dim)
  int64_t dout_row = 0;
  const float* x = nullptr;  // (slots, dim), needed for dweight
  int64_t x_row = 0;
  const int32_t* slot;            // (rows, k)
  const float* weight = nullptr;  // (rows, k), or null for ones
  float* dx = nullptr;            // (slots, dim): only rows named by a slot are overwritten; null: not wanted
  int64_t dx_row = 0;
  float* dweight = nullptr;  // (rows, k), overwritten; null: not wanted
};

// AdamW (Loshchilov & Hutter 2019, alg. 2), in PyTorch's order of operations:
//   g = grad * grad_scale; p *= 1 - lr * weight_decay; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2)
//   g^2; p -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)
struct AdamW {
  float lr, beta1, beta2, eps, weight_decay;
  float bias1, bias2;  // 1 - beta1^step, 1 - beta2^step, step counted from 1
  float grad_scale = 1;
};

}  // namespace frugal::kernels
