// SwiGLU and GELU, forward and backward.
#include "kernels/impl/loop.h"
#include "kernels/kernels.h"
#include "kernels/rowwise_args.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

static inline Vec sigmoid(Vec x) {
  return 1.0f / (1.0f + exp(-x));
}

// erf(x) to 1.5e-7 (Abramowitz & Stegun 7.1.26); `gauss` is exp(-x^2), which the caller has.
static inline Vec erf(Vec x, Vec gauss) {
  const Vec t = 1.0f / (1.0f + abs(x) * 0.3275911f);
  Vec p = broadcast(1.061405429f);
  p = fma(p, t, broadcast(-1.453152027f));
  p = fma(p, t, broadcast(1.421413741f));
  p = fma(p, t, broadcast(-0.284496736f));
  p = fma(p, t, broadcast(0.254829592f));
  const Vec magnitude = 1.0f - p * t * gauss;
  return from_bits(bits(magnitude) | (bits(x) & 0x80000000u));
}

constexpr float kSqrtHalf = 0.70710678118654752f;
constexpr float kGaussScale = 0.39894228040143268f;  // 1 / sqrt(2 pi)
constexpr float kTanhSlope = 0.79788456080286536f;   // sqrt(2 / pi)
constexpr float kTanhCube = 0.044715f;

// 0.5 (1 + tanh(u)) = sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
static inline Vec tanh_gate(Vec x) {
  return sigmoid(2.0f * kTanhSlope * x * (1.0f + kTanhCube * x * x));
}

static inline void clamped_forward(const Swiglu& a, int64_t begin, int64_t end) {
  const Vec limit = broadcast(a.limit);
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = a.gate + row * a.gate_row, *up = a.up + row * a.up_row;
    float* out = a.out + row * a.out_row;
    for_vectors(a.cols, [&](int64_t i, auto part) {
      const Vec g = min(get(gate + i, part), limit), u = max(min(get(up + i, part), limit), -limit);
      put(out + i, g * sigmoid(a.alpha * g) * (u + 1.0f), part);
    });
  }
}

// A value on a limit still gets its gradient, as in PyTorch's clamp.
static inline void clamped_backward(const SwigluGrad& a, int64_t begin, int64_t end) {
  const Vec limit = broadcast(a.limit);
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = a.gate + row * a.gate_row, *up = a.up + row * a.up_row;
    const float* dout = a.dout + row * a.dout_row;
    float *dgate = a.dgate + row * a.dgate_row, *dup = a.dup + row * a.dup_row;
    for_vectors(a.cols, [&](int64_t i, auto part) {
      const Vec gate_in = get(gate + i, part), up_in = get(up + i, part), d = get(dout + i, part);
      const Vec g = min(gate_in, limit), u = max(min(up_in, limit), -limit), s = sigmoid(a.alpha * g);
      const Vec du = d * (g * s), dg = d * (u + 1.0f) * (s * (1.0f + a.alpha * g * (1.0f - s)));
      put(dup + i, abs(up_in) <= limit ? du : zero(), part);
      put(dgate + i, gate_in <= limit ? dg : zero(), part);
    });
  }
}

}  // namespace

void swiglu_forward(const Swiglu& a, int64_t begin, int64_t end) {
  if (a.limit > 0) return clamped_forward(a, begin, end);
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = a.gate + row * a.gate_row, *up = a.up + row * a.up_row;
    float* out = a.out + row * a.out_row;
    for_vectors(a.cols, [&](int64_t i, auto part) {
      const Vec g = get(gate + i, part);
      put(out + i, g / (1.0f + exp(-g)) * get(up + i, part), part);
    });
  }
}

void swiglu_backward(const SwigluGrad& a, int64_t begin, int64_t end) {
  if (a.limit > 0) return clamped_backward(a, begin, end);
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = a.gate + row * a.gate_row, *up = a.up + row * a.up_row;
    const float* dout = a.dout + row * a.dout_row;
    float *dgate = a.dgate + row * a.dgate_row, *dup = a.dup + row * a.dup_row;
    for_vectors(a.cols, [&](int64_t i, auto part) {
      const Vec g = get(gate + i, part), u = get(up + i, part), d = get(dout + i, part);
      const Vec s = sigmoid(g);
      put(dup + i, d * (g * s), part);
      put(dgate + i, d * u * (s * (1.0f + g * (1.0f - s))), part);
    });
  }
}

void gelu_forward(Gelu form, int64_t n, const float* x, float* y) {
  if (form == Gelu::tanh) {
    for_vectors(n, [&](int64_t i, auto part) {
      const Vec v = get(x + i, part);
      put(y + i, v * tanh_gate(v), part);
    });
    return;
  }
  for_vectors(n, [&](int64_t i, auto part) {
    const Vec v = get(x + i, part), scaled = v * kSqrtHalf;
    put(y + i, 0.5f * v * (1.0f + erf(scaled, exp(-scaled * scaled))), part);
  });
}

void gelu_backward(Gelu form, int64_t n, const float* x, const float* dy, float* dx) {
  if (form == Gelu::tanh) {
    for_vectors(n, [&](int64_t i, auto part) {
      const Vec v = get(x + i, part), s = tanh_gate(v);
      const Vec slope = 2.0f * kTanhSlope * (1.0f + 3.0f * kTanhCube * v * v);
      put(dx + i, get(dy + i, part) * (s + v * s * (1.0f - s) * slope), part);
    });
    return;
  }
  for_vectors(n, [&](int64_t i, auto part) {
    const Vec v = get(x + i, part), scaled = v * kSqrtHalf, gauss = exp(-scaled * scaled);
    const Vec slope = 0.5f * (1.0f + erf(scaled, gauss)) + v * gauss * kGaussScale;
    put(dx + i, get(dy + i, part) * slope, part);
  });
}

}  // namespace frugal::kernels::KERNEL_TARGET
