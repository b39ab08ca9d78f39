// Names and layouts of tensors in GGUF files, as the tables of models/gguf_family.h say them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace frugal {

// How a GGUF tensor differs from the parameter it stores.
enum class GgufLayout {
  same,
  rotated_rows,  // rows of each head in the order of adjacent pairs: HF's rows i and i + d/2 stand together
  transposed,    // (out, in) where HF's Conv1D has (in, out)
  split_kv,      // MLA's kv_b: one tensor, or attn_k_b (heads, rank, nope) and attn_v_b (heads, v, rank)
};

// Names with {} for the layer and, behind it, the expert: experts of a layer are slices of one tensor.
struct GgufName {
  std::string_view hf, gguf;
  GgufLayout layout = GgufLayout::same;
};

// Where a parameter is in a file: a tensor, or the slice of one that belongs to an expert.
struct GgufPlace {
  std::string name;
  GgufLayout layout = GgufLayout::same;
  int64_t layer = 0;    // 0 for what is in no layer
  int64_t expert = -1;  // -1: the whole tensor
};
// By HF's name; CHECKs that the table has it.
GgufPlace place_in_gguf(std::span<const GgufName> names, const std::string& parameter);

// Widths that the layouts need.
struct GgufWidths {
  int64_t head = 0;                        // rotated_rows
  int64_t heads = 0, nope = 0, value = 0;  // split_kv
};

// A name with its numbers taken out: "model.layers.3.mlp" -> "model.layers.{}.mlp" and {3}.
struct NumberedName {
  std::string pattern;
  std::vector<int64_t> numbers;
};
NumberedName numbered(const std::string& name);
// The first {} of `pattern` replaced by `layer`.
std::string with_layer(std::string_view pattern, int64_t layer);

}  // namespace frugal
