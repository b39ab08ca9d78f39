// What lies beside a frozen matrix to tune it: LoRA (Hu et al. 2021, §4.1), rsLoRA (Kalajdzievski 2023), DoRA
// (Liu et al. 2024, §4). The matrix counts as
//   W' = W + scale B A                            (LoRA; scale = alpha / r, rsLoRA: alpha / sqrt(r))
//   W'_o = magnitude_o (W + scale B A)_o / |(W + scale B A)_o|   for every output o (DoRA)
// and stays as it is stored. Gradients go to A, B and the magnitude only; DoRA's norm counts as a constant
// there (§4.3).
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/tensor.h"

namespace frugal {

// Which entries of the inputs of A are left out while training, shared by all adapters of a model. An entry's
// fate is a function of (key, stream, place), so that a block that is run twice leaves out the same.
struct LowRankDropout {
  double probability = 0;
  uint64_t key = 0;  // of the forward pass under way; 0: nothing is left out
};

struct LowRank {
  Tensor a;  // (r, in) f32
  Tensor b;  // (out, r) f32
  float scale = 1;
  bool transposed = false;                        // the matrix is (in, out)
  uint64_t stream = 0;                            // tells this adapter's dropout from the others'
  std::shared_ptr<const LowRankDropout> dropout;  // may be null
  // DoRA, else empty: (out) f32 each. base_squares: the squared norm of every output's weights in W.
  Tensor magnitude, base_squares;

  int64_t rank() const { return a.dim(0); }
  int64_t in() const { return a.cols(); }
  int64_t out() const { return b.dim(0); }
  bool trains() const { return a.needs_gradient() || b.needs_gradient(); }
};

// sum of squares of every output's weights, (out); `transposed` as above. Any format, `low_rank` left out.
Tensor output_squares(const Context& ctx, const Tensor& matrix, bool transposed);

}  // namespace frugal
