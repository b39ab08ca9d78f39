// Rows scaled by the sigmoid of a gate: Qwen2-MoE's shared expert.
#include <cmath>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"

namespace frugal::ops {
namespace {

constexpr int64_t kGrain = 32;

float sigmoid(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

void backward(const Context& ctx, const Tensor& x, const Tensor& gate, const float* dy, float* dx,
              float* dgate) {
  const int64_t width = x.cols();
  ctx.pool.parallel_for(x.rows(), kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const float s = sigmoid(gate.f32()[r]);
      float dot = 0;
      for (int64_t c = r * width; c < (r + 1) * width; ++c) {
        dot += dy[c] * x.f32()[c];
        dx[c] += s * dy[c];
      }
      dgate[r] += dot * s * (1 - s);
    }
  });
}

}  // namespace

Tensor sigmoid_gate(Context& ctx, const Tensor& x, const Tensor& gate) {
  CHECK(gate.size() == x.rows());
  const int64_t width = x.cols();
  const OpScope scope(ctx, "sigmoid gate", 0, 2 * bytes_of(x));
  Tensor y = Tensor::empty(ctx, x.shape());
  if (!ctx.dry_run()) {
    ctx.pool.parallel_for(x.rows(), kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const float s = sigmoid(gate.f32()[r]);
        for (int64_t c = r * width; c < (r + 1) * width; ++c) y.f32()[c] = s * x.f32()[c];
      }
    });
  }
  if (recording(ctx, x, gate)) {
    y.require_gradient(false);
    ctx.tape->record(y,
                     [x = with_slot(x), gate = with_slot(gate), y = y.gradient_handle()](const Context& c) {
                       float *dx = x.gradient_sum(c), *dgate = gate.gradient_sum(c);
                       if (!c.dry_run()) backward(c, x, gate, y.gradient(), dx, dgate);
                     });
  }
  return y;
}

}  // namespace frugal::ops
