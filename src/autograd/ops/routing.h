// Which tokens go to which experts, and the gradient of that choice's weights.
#pragma once

#include <vector>

#include "autograd/ops.h"

namespace frugal::ops {

struct Routing {
  RouterOptions options;
  int64_t rows = 0;
  std::vector<float> scores;        // (R, E) after sigmoid or softmax
  std::vector<int32_t> chosen;      // (R, top_k) expert indices
  std::vector<int32_t> slot;        // (R, top_k) where the token stands in expert order
  std::vector<int32_t> order;       // (R * top_k) token of each slot, sorted by expert, then by token
  std::vector<float> token_weight;  // (R, top_k)
  std::vector<float> expert_scale;  // (E) factors of the weights; empty for none
  std::vector<float> weight;        // the same by slot
  std::vector<int64_t> first;       // (E + 1) slots of expert e are [first[e], first[e+1])
  std::vector<int64_t> counts;      // (E)
  // d(balance loss)/d(normalised score), (S, E), with the sequences' offsets; empty without a balance loss.
  std::vector<float> balance;
  std::vector<int64_t> offsets;
};

// `logits` (R, E) becomes scores in place. In a dry run experts are chosen in turn.
Routing route(const Context& ctx, Tensor& logits, const Tensor& bias, const Tensor& expert_scale,
              std::span<const int64_t> offsets, const RouterOptions& options);
// dlogits (R, E) from the gradients of the routing weights by slot, and of the balance loss.
void routing_backward(const Context& ctx, const Routing& routing, std::span<const float> dweights,
                      float* dlogits);
// d(expert_scale) (E) from the same; adds to it, in the order of the tokens.
void expert_scale_backward(const Routing& routing, std::span<const float> dweights, float* dscale);

// (R, D) -> (slots, D); its transpose, added; and the weighted sum back to (R, D).
void gather(const Context& ctx, const Routing& routing, const float* x, int64_t width, float* rows);
void scatter_add(const Context& ctx, const Routing& routing, const float* rows, int64_t width, float* x);
void combine(const Context& ctx, const Routing& routing, const float* rows, int64_t width, float* y);

}  // namespace frugal::ops
