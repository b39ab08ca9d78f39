// Arguments of the kernels that multiply block-quantised weights with int8 activations: plain structs shared
// by the driver (quant_linear.h) and the kernel bodies (impl/), so this header includes C headers only.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace frugal::kernels {

// GGUF's block formats that these kernels read (how values lie: tensor/formats/). none: any other.
enum class Blocks : uint8_t {
  none,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  mxfp4,
  iq4_nl,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k
};

// Activations are rounded in blocks of this many values: x = scale * q, q in -127..127, scale = max |x| /
// 127. Wide ones have 15 bits, q = 128 high + low, scale = max |x| / (127 * 128): two products for each, the
// error a 128th.
constexpr int64_t kQuantBlock = 32;
constexpr int kWideShift = 7;
// How a panel of C rows of activations holds one block, in 32-bit words: 8 x C words of four q each (wide:
// of the high parts, then as many of the low parts, from -64 to 63), then C each of: scale (f32), minus the
// sum of q (int32), scale * sum of q (f32). With halves, the last two follow for the first 16 values and then
// for the second 16: formats with scales for 16 values need those.
struct PanelForm {
  bool halves = false;
  bool wide = false;
};
static constexpr int64_t code_words(PanelForm form) {
  return form.wide ? 16 : 8;
}
static constexpr int64_t panel_words(PanelForm form) {
  return code_words(form) + (form.halves ? 7 : 3);
}

// The longest piece of the inner dimension that is unpacked at a time, so that it stays in the first-level
// cache: the sums of a piece are added to those before it, so results do not depend on it.
constexpr int64_t kQuantPiece = 1024;
// Bytes of scratch, 64-byte aligned, that quant_dot needs.
constexpr size_t kQuantScratch = 96 << 10;

// Rows of f32 activations to be written as one panel.
struct QuantPanel {
  int columns;  // rows of x, at most the table's quant_columns
  int64_t in;   // a multiple of kQuantBlock
  const float* x;
  int64_t x_row;
  const int32_t* index;  // the panel's rows are x[index[0..columns)]; null: the first rows
  PanelForm form;
  int32_t* to;  // in / kQuantBlock x panel_words(form) x columns words
};

// Outputs [begin, end) of W (out, in) for the rows of x in consecutive panels: y (rows, out).
struct QuantDot {
  Blocks format;
  const void* w;
  int64_t w_row;  // bytes
  int64_t in, begin, end;
  const int32_t* x;  // panels of quant_columns rows, the last of fewer
  int64_t rows;
  PanelForm form;
  float* y;
  int64_t y_row;
  const void* next = nullptr;  // what is read after these rows of W; null: what follows in memory
};

}  // namespace frugal::kernels
