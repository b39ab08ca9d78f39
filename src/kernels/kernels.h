// The contract between kernel bodies (impl/*.cpp, compiled once per instruction set) and everybody else: one
// Table of function pointers per instruction set. Kernels are single-threaded and allocate nothing; drivers
// (gemm.h, linear.h,
// ...) share work over threads and call them. Pointers need no alignment beyond that of their type, unless a
// kernel says so. To add a kernel: impl/NAME.cpp, one field here, its lines in impl/table.cpp. This header is
// compiled into every instruction set, so it includes C headers only and defines no functions.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace frugal::kernels {

// Number formats that kernels read directly. bf16 is the upper half of an f32, rounded to nearest even.
enum class Element : uint8_t { f32, bf16 };
// How rows are stored that kernels decode as they read: cached keys and values, and weights for weigh_rows.
// q8_0: blocks of 34 bytes, an f16 scale and 32 signed bytes; q4_0 (weights only): 18 bytes, 32 numbers of 4
// bits less 8, the first 16 in the low halves (both GGUF's).
enum class KvType : uint8_t { f32, bf16, q8_0, q4_0 };
constexpr int64_t kQ8Values = 32, kQ8Bytes = 34, kQ4Bytes = 18;

// y (rows, out) = x (rows, in) . W (in, out): W's rows lie along the inner dimension. Each output is one
// chain of multiply-adds, in order. Strides of x and y count floats.
struct WeighRows {
  KvType type;
  int64_t rows, in, out;  // in blocks of kQ8Values for q8_0 and q4_0
  const float* x;
  int64_t x_row;
  const void* w;
  int64_t w_bytes;  // from row to row
  float* y;
  int64_t y_row;
};

// Arguments of the row-wise kernels: rowwise_args.h.
struct RmsNorm;
struct RmsNormGrad;
struct LayerNorm;
struct LayerNormGrad;
struct Rope;
struct Swiglu;
struct SwigluGrad;
struct CrossEntropy;
struct GatherRows;
struct ScatterAddRows;
struct CombineRows;
struct CombineRowsGrad;
struct AdamW;
enum class Gelu : uint8_t;
// Arguments of the products with block-quantised weights: quant_args.h.
enum class Blocks : uint8_t;
struct QuantPanel;
struct QuantDot;
// Arguments of the attention kernels: attention_args.h.
struct AttentionHead;
struct AttentionTask;
struct AttentionState;
struct AttentionOutput;
struct AttentionGradTask;
// How a product is computed: bf16 rounds both factors to bf16 (nearest even) and adds the products in f32.
enum class Precision : uint8_t { f32, bf16 };

// The longest piece of the inner dimension that a block product takes; longer ones are added up piece by
// piece.
constexpr int64_t kGemmMaxK = 512;

// Memory that is packed next, asked for during a block product: `rows` pieces of `lines` cache lines.
struct GemmAhead {
  const void* from = nullptr;
  int64_t rows = 0, row_bytes = 0, lines = 0;
};

// One block product on packed factors: C (rows, columns) = or += A (rows, k_begin..k_end) . B
// (k_begin..k_end, columns).
struct GemmBlock {
  Precision precision;
  int64_t rows, columns, k_begin, k_end;
  bool a_by_rows;   // as the matrix was when packed: a_col == 1
  const float* a;   // from gemm_pack_a, holds k_begin..k_end only
  const float* b;   // from gemm_pack_b, one panel after the other, each holds all of k
  int64_t b_panel;  // floats from one panel to the next
  float* c;
  int64_t c_row;
  bool accumulate;
  GemmAhead ahead;
};

// y (rows, out) = or += x (rows, in) . W (out, in)^T + bias. Strides count elements from row to row; elements
// of a row are adjacent. w points to f32 or bf16 elements as w_type says; bias (out) may be null. With
// Precision::bf16 and weights in bf16, x is rounded to bf16 as well where Table::bf16_pairs says that this is
// faster; elsewhere nothing is rounded.
struct LinearProblem {
  int64_t rows = 0, in = 0, out = 0;
  const float* x = nullptr;
  int64_t x_row = 0;
  const void* w = nullptr;
  Element w_type = Element::f32;
  int64_t w_row = 0;
  const float* bias = nullptr;
  float* y = nullptr;
  int64_t y_row = 0;
  bool accumulate = false;
  Precision precision = Precision::f32;
};

// The dot products are cut into pieces of `in` of this length (twice as long in bf16 pairs), a function of
// `in` alone; scratch that a block of them needs, which is to stay in the second-level cache.
constexpr int64_t kLinearPiece = 1024, kLinearScratch = 1 << 16;

struct Table {
  const char* name;  // "scalar", "avx2", ...: what FRUGAL_KERNELS accepts
  int lanes;         // floats in one vector
  bool bf16_pairs;   // one instruction multiplies pairs of bf16 and adds them to f32

  // --- the machine's bounds (impl/machine.cpp)
  // Runs `rounds` rounds of independent fused multiply-adds held in registers; returns the floating-point
  // operations done. Time it for the machine's peak. `sink` keeps the compiler honest.
  int64_t (*fma_loop)(int64_t rounds, float* sink);
  // Sum of x[0..n): time it on memory larger than the caches for the read bandwidth.
  float (*read_loop)(int64_t n, const float* x);

  // --- element-wise (impl/convert.cpp)
  void (*f32_to_bf16)(int64_t n, const float* x, uint16_t* y);  // round to nearest even; NaN stays NaN
  void (*bf16_to_f32)(int64_t n, const uint16_t* x, float* y);  // exact
  void (*f16_to_f32)(int64_t n, const uint16_t* x, float* y);   // exact
  void (*exp)(int64_t n, const float* x, float* y);  // within 2 ulp; 0 below -104, +inf above 88.73

  // --- row-wise: rows [begin, end) of the arguments, whose strides are filled in (formulas: rowwise_args.h)
  void (*rms_norm_forward)(const RmsNorm& args, int64_t begin, int64_t end);
  // Adds the rows' part of the parameter gradients into dweight, dbias (dim); null: not wanted.
  void (*rms_norm_backward)(const RmsNormGrad& args, int64_t begin, int64_t end, float* dweight);
  void (*layer_norm_forward)(const LayerNorm& args, int64_t begin, int64_t end);
  void (*layer_norm_backward)(const LayerNormGrad& args, int64_t begin, int64_t end, float* dweight,
                              float* dbias);
  void (*add_rows)(int64_t rows, int64_t cols, const float* x, int64_t x_row,
                   float* y);  // y[c] += x[r,c] in order
  void (*rope_apply)(const Rope& args, int64_t begin, int64_t end);
  void (*swiglu_forward)(const Swiglu& args, int64_t begin, int64_t end);
  void (*swiglu_backward)(const SwigluGrad& args, int64_t begin, int64_t end);
  void (*cross_entropy_rows)(const CrossEntropy& args, int64_t begin, int64_t end);
  void (*gather_rows)(const GatherRows& args, int64_t begin, int64_t end);
  void (*scatter_add_rows)(const ScatterAddRows& args, int64_t begin, int64_t end);  // rows of the output
  void (*combine_rows)(const CombineRows& args, int64_t begin, int64_t end);
  void (*combine_rows_backward)(const CombineRowsGrad& args, int64_t begin, int64_t end);
  // --- flat arrays (impl/activation.cpp, impl/elementwise.cpp); y may be an input
  void (*gelu_forward)(Gelu form, int64_t n, const float* x, float* y);
  void (*gelu_backward)(Gelu form, int64_t n, const float* x, const float* dy, float* dx);
  void (*add)(int64_t n, const float* a, const float* b, float* y);
  void (*axpy)(int64_t n, float alpha, const float* x, float* y);
  void (*scale)(int64_t n, float alpha, const float* x, float* y);
  double (*sum_of_squares)(int64_t n, const float* x);
  void (*adamw_update)(const AdamW& args, int64_t n, const float* g, float* p, float* m, float* v);

  // --- attention (impl/attention.cpp): adds chunks of keys to rows' softmax, merges two states, divides and
  // writes out
  void (*attention_forward)(const AttentionHead& head, const AttentionTask& task);
  // As attention_forward, for few rows: reads keys as they lie (impl/attention_stream.cpp). The scores' sums
  // have another order.
  void (*attention_stream)(const AttentionHead& head, const AttentionTask& task);
  void (*attention_merge)(int64_t rows, int64_t v_padded, const AttentionState& from,
                          const AttentionState& to);
  void (*attention_finish)(const AttentionHead& head, int64_t row_begin, int64_t row_end,
                           const AttentionState& state, const AttentionOutput& to);
  // Adds gradients of some rows and keys (impl/attention_backward.cpp); delta[row * heads + head] = dot(out,
  // dout).
  void (*attention_backward)(const AttentionHead& head, const AttentionGradTask& task);
  void (*attention_delta)(int64_t rows, int64_t heads, int64_t v_dim, const float* out, int64_t out_row,
                          const float* dout, int64_t dout_row, float* delta);

  // Outputs [begin, end) of every row, begin a multiple of kQ8Values. Asks for their part of the `ahead`
  // bytes of memory that follow W (impl/weigh_rows.cpp; weigh.h is the way to call it).
  void (*weigh_rows)(const WeighRows& args, int64_t begin, int64_t end, int64_t ahead);

  // --- packed matrix products (impl/gemm.cpp; gemm.h is the way to call them)
  // The register tile: A is packed in panels of gemm_rows rows, B in panels of gemm_columns columns.
  int gemm_rows, gemm_columns;
  // Floats that gemm_pack_a writes at most for that many rows, with padding.
  int64_t (*gemm_packed_a)(int64_t rows);
  // Packs A (rows, k), k <= kGemmMaxK; one of a_row, a_col is 1.
  void (*gemm_pack_a)(Precision precision, int64_t rows, int64_t k, const float* a, int64_t a_row,
                      int64_t a_col, float* to);
  // Packs one panel B (k, columns), columns <= gemm_columns, any k; one of b_row, b_col is 1. Writes at most
  // gemm_columns * (k rounded up to even) floats; missing columns become 0.
  void (*gemm_pack_b)(Precision precision, int64_t k, int64_t columns, Element type, const void* b,
                      int64_t b_row, int64_t b_col, float* to);
  void (*gemm_block)(const GemmBlock& block);

  // --- dot products with rows of weights (impl/linear_dot.cpp; linear.h is the way to call it): outputs
  // [row_begin, row_end) x [out_begin, out_end) of the problem; scratch holds kLinearScratch floats
  void (*linear_dot)(const LinearProblem& problem, int64_t row_begin, int64_t row_end, int64_t out_begin,
                     int64_t out_end, float* scratch);

  // --- products of block-quantised weights with int8 activations (impl/quantize_rows.cpp,
  // impl/quant_dot.cpp; quant_linear.h is the way to call them)
  int quant_columns;  // rows of activations in a panel
  void (*quantize_rows)(const QuantPanel& panel);
  // Whole blocks to f32 (impl/dequantize.cpp), the bits that tensor/formats gives.
  void (*dequantize)(Blocks format, int64_t values, const void* from, float* to);
  void (*quant_dot)(const QuantDot& problem, void* scratch);  // kQuantScratch bytes, 64-byte aligned
};

}  // namespace frugal::kernels
