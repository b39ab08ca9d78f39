#include "autograd/tape.h"

#include "autograd/aux.h"
#include "core/error.h"
#include "core/profile.h"

namespace frugal {

void Tape::record(const Tensor& output, std::function<void(const Context&)> backward) {
  CHECK(output.needs_gradient());
  nodes_.push_back({output.gradient_handle(), std::move(backward), false, op_});
}

void Tape::record_in_place(const Tensor& output, std::function<void(const Context&)> backward) {
  CHECK(output.needs_gradient());
  nodes_.push_back({output.gradient_handle(), std::move(backward), true, op_});
}

void Tape::backward(const Context& ctx) {
  if (ctx.profile != nullptr && !ctx.profile->inside_op()) ctx.profile->phase("backward");
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    if (node.output.has_gradient()) {
      ProfileScope scope(ctx.profile, node.op.name);
      scope.work(2 * node.op.flops, 2 * node.op.bytes);
      node.backward(ctx);
    }
    if (!node.in_place) node.output.drop_gradient();
  }
}

void Tape::seed(const Context& ctx, const Tensor& output, std::span<const float> gradient) {
  CHECK(static_cast<size_t>(output.size()) == gradient.size());
  float* sum = output.gradient_sum(ctx);
  for (size_t i = 0; i < gradient.size(); ++i) sum[i] += gradient[i];
}

Tensor with_slot(const Tensor& input) {
  Tensor out = input;
  if (!out.needs_gradient()) out.require_gradient(false);
  return out;
}

Tensor recomputed(Context& ctx, const Tensor& x, std::function<Tensor(Context&, const Tensor&)> block) {
  if (!recording(ctx, x)) return block(ctx, x);
  Context quiet = ctx;
  quiet.tape = nullptr;
  Tensor y = block(quiet, x).detached();
  y.require_gradient(false);
  ctx.tape->record(y, [x, y, block = std::move(block)](const Context& outer) {
    Tape tape;
    Context inner = outer;
    inner.tape = &tape;
    const bool was_recomputing = inner.aux != nullptr && inner.aux->recomputing;
    if (inner.aux != nullptr) inner.aux->recomputing = true;
    const Tensor again = block(inner, x);
    *again.slot() = *y.slot();  // the same gradient, now in front of the fresh tape
    tape.backward(inner);
    if (inner.aux != nullptr) inner.aux->recomputing = was_recomputing;
  });
  return y;
}

}  // namespace frugal
