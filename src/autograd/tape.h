// Reverse-mode differentiation. Ops append a closure that adds to the gradients of their inputs given that of
// their output; backward() runs them last to first and frees each closure, and with it the activations it
// kept, as it goes.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace frugal {

class Tape {
 public:
  // `output` is the tensor whose gradient the closure reads; the closure is skipped when nothing flowed into
  // it.
  // Whose backward is recorded from here on, for profiles; returns what was set before. A string that lives
  // on.
  struct Op {
    const char* name = "op";
    double flops = 0, bytes = 0;
  };
  Op begin_op(const Op& op) { return std::exchange(op_, op); }
  void record(const Tensor& output, std::function<void(const Context&)> backward);
  // For an op that changes its input in place and shares its gradient slot: the gradient stays for the
  // producer.
  void record_in_place(const Tensor& output, std::function<void(const Context&)> backward);
  // Runs everything recorded, last first. Gradients of the tensors the loss depends on were put there by the
  // loss op (see cross_entropy) or by seed().
  void backward(const Context& ctx);
  static void seed(const Context& ctx, const Tensor& output, std::span<const float> gradient);
  size_t size() const { return nodes_.size(); }
  void clear() { nodes_.clear(); }

 private:
  struct Node {
    Tensor output;
    std::function<void(const Context&)> backward;
    bool in_place = false;
    Op op = {};
  };
  std::vector<Node> nodes_;
  Op op_;
};

// True when the op should record: there is a tape and one of the inputs needs a gradient.
template <class... T>
bool recording(const Context& ctx, const T&... inputs) {
  return ctx.tape != nullptr && (inputs.needs_gradient() || ...);
}

// The tensor with a slot for its gradient: its own, or, where nothing flows on (an input computed from frozen
// weights alone), one that nobody reads. For ops whose backward fills the gradients of all inputs at once.
Tensor with_slot(const Tensor& input);

// Runs block(ctx, x) keeping none of its activations; backward runs it again first (Chen et al. 2016,
// "Training Deep Nets with Sublinear Memory Cost"). The block may have one output. Aux counts are taken once.
Tensor recomputed(Context& ctx, const Tensor& x, std::function<Tensor(Context&, const Tensor&)> block);

}  // namespace frugal
