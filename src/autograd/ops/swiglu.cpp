// silu(gate) * up (Shazeer 2020, "GLU Variants Improve Transformer").
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

// Both inputs are products of their own, used nowhere else: their gradients are overwritten, never added to.
static void swiglu_backward(const Context& ctx, const Tensor& gate, const Tensor& up, const Tensor& y) {
  const auto dgate = gate.gradient_target(ctx), dup = up.gradient_target(ctx);
  CHECK(!dgate.accumulate && !dup.accumulate, "an input of swiglu is used twice");
  if (ctx.dry_run()) return;
  kernels::swiglu_backward(ctx.pool, ctx.kernels,
                           {.rows = gate.rows(),
                            .cols = gate.cols(),
                            .gate = gate.f32(),
                            .up = up.f32(),
                            .dout = y.gradient(),
                            .dgate = dgate.data,
                            .dup = dup.data});
}

Tensor swiglu(Context& ctx, const Tensor& gate, const Tensor& up) {
  CHECK(gate.shape() == up.shape());
  const OpScope scope(ctx, "swiglu", 0, 3 * bytes_of(gate));
  Tensor y = Tensor::empty(ctx, gate.shape());
  if (!ctx.dry_run()) {
    kernels::swiglu_forward(
        ctx.pool, ctx.kernels,
        {.rows = gate.rows(), .cols = gate.cols(), .gate = gate.f32(), .up = up.f32(), .out = y.f32()});
  }
  if (recording(ctx, gate, up)) {
    y.require_gradient(false);
    ctx.tape->record(y, [gate = with_slot(gate), up = with_slot(up),
                         y = y.gradient_handle()](const Context& c) { swiglu_backward(c, gate, up, y); });
  }
  return y;
}

}  // namespace frugal::ops
