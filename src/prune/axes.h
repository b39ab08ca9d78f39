// What the two sides of every matrix count: channels of the residual stream, heads, neurons, experts. By
// Hugging Face's names, which all families share. Whoever cuts a model cuts every side that counts the same
// thing alike. Private to prune/.
#pragma once

#include <string>

#include "models/model.h"

namespace frugal {

enum class Axis {
  none,      // is never cut: vocabulary, latents, a head's inside
  hidden,    // channels of the residual stream
  joined,    // twice those, side by side (what multi-token prediction takes in)
  heads,     // query heads, each some values wide
  kv_heads,  // key and value heads, likewise
  inner,     // neurons of a feed-forward
  experts,
};

// Of a vector only `out` matters.
struct Axes {
  Axis out = Axis::none, in = Axis::none;
};
Axes axes_of(const std::string& parameter);

// Rows and columns of a parameter as it lies: a transposed matrix is (in, out), a vector has columns only.
struct Sides {
  Axis rows = Axis::none, cols = Axis::none;
};
Sides sides_of(const std::string& parameter, const Tensor& value, const ParameterInfo& info);

// Whether it is the matrix behind a feed-forward's neurons.
bool takes_neurons(const std::string& parameter, const Tensor& value);
// "model.layers.3.mlp.down_proj.weight" -> "model.layers.3.mlp": the feed-forward, or the one expert.
std::string feed_forward_of(const std::string& parameter);
// The layer that a parameter is in; -1: in none.
int64_t layer_of(const std::string& parameter);

}  // namespace frugal
