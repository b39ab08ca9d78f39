// An observer of inputs (aux.h) that also sees blocks as wholes and where tokens are sent: what it takes to
// say which parts of a model matter. A forward pass tells it when it is the one in ctx.aux.
#pragma once

#include <span>

#include "autograd/aux.h"
#include "core/context.h"

namespace frugal {

// All that it is given is valid during the call.
class PartObserver : public InputObserver {
 public:
  // Token i of x (R, D) goes to experts chosen[i * k ...] with those weights; `router` (E, D) said so.
  virtual void routed(const Tensor& router, const Tensor& x, std::span<const int32_t> chosen,
                      std::span<const float> weights) = 0;
  // Around block `layer`: (R, D) both.
  virtual void block(int layer, const Tensor& before, const Tensor& after) = 0;
};

// The one of this forward pass; null when there is none.
inline PartObserver* part_observer(const Context& ctx) {
  return ctx.aux == nullptr ? nullptr : dynamic_cast<PartObserver*>(ctx.aux->inputs);
}

}  // namespace frugal
