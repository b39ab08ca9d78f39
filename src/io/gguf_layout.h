// Moves values between the layouts of models/gguf_family.h, both ways. Formats with blocks are moved by whole
// rows where the layout allows it, else decoded.
#pragma once

#include "models/gguf_names.h"
#include "tensor/tensor.h"

namespace frugal {

// Row r of HF's order within a head of `width` rows, in the order of adjacent pairs.
inline int64_t rotated_row(int64_t r, int64_t width) {
  const int64_t half = width / 2;
  return r < half ? 2 * r : 2 * (r - half) + 1;
}

// Any format -> f32, in memory of its own.
Tensor decoded_copy(Context& ctx, const Tensor& stored);
// Rows of every head reordered, in the same format; matrices (rows, in) or vectors. `to_hf` says which way.
Tensor reorder_rotated(Context& ctx, const Tensor& stored, int64_t width, bool to_hf);
// (a, b) -> (b, a) as f32.
Tensor transposed_copy(Context& ctx, const Tensor& stored);
// attn_k_b (heads, rank, nope) and attn_v_b (heads, value, rank) -> kv_b (heads (nope + value), rank), f32.
Tensor join_kv(Context& ctx, const Tensor& k_b, const Tensor& v_b, const GgufWidths& widths);
// And back, f32.
struct SplitKv {
  Tensor k_b, v_b;
};
SplitKv split_kv(Context& ctx, const Tensor& kv_b, const GgufWidths& widths);

}  // namespace frugal
