// Checkpoints in Hugging Face's layout that keep what we hold as matrices of their own in one tensor a layer:
// gpt-oss's experts, gate and up in alternating columns. A family's table says what is where; io/ cuts and
// joins.
#pragma once

#include <cstdint>
#include <string_view>

namespace frugal {

// Output i of the parameter is output first + i * step of its expert's slice. Matrices are stored
// (experts, in, out * step) in f32, bf16 or f16; or, in `tensor`_blocks and `tensor`_scales, as MXFP4: codes
// (experts, out * step, in / 32, 16) and exponents (experts, out * step, in / 32), both U8. Vectors are
// (experts, out * step).
struct HfStack {
  std::string_view parameter;  // ours: {} for the layer and, behind it, for the expert
  std::string_view tensor;     // the file's: {} for the layer
  int64_t first = 0, step = 1;
};

}  // namespace frugal
