// Linear layers on block-quantised weights as they lie in memory (a mapped file: nothing is repacked), with
// activations rounded to int8, or to two of them, in blocks of 32: y = x W^T in 8-bit products that are added
// exactly, one scale a block. An output depends on its rows of x and W, the format and `in` only: a row gives
// the bits it gives among 512, on any number of threads; and on any instruction set with a fused multiply.
#pragma once

#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/kernels.h"
#include "kernels/quant_args.h"

namespace frugal::kernels {

// Does the format have scales for 16 values, so that activations need halves?
constexpr bool needs_halves(Blocks format) {
  return format == Blocks::q2_k || format == Blocks::q3_k || format == Blocks::q6_k;
}

// Rows of activations as int8. Quantise once, multiply with many weights.
struct QuantizedRows {
  const Table* table = nullptr;
  int64_t rows = 0, in = 0;
  PanelForm form = {};
  int32_t* words = nullptr;
};
// x (rows, in), rows x_row floats apart (0: in); with `index` row i is x[index[i]]. `in` is a multiple of 32.
struct QuantizeRows {
  int64_t rows = 0, in = 0;
  const float* x = nullptr;
  int64_t x_row = 0;
  const int32_t* index = nullptr;
  PanelForm form = {};
};
// Bytes that those rows take.
int64_t quantized_bytes(const Table& table, const QuantizeRows& request);
// Rounds all of them; `memory` holds the sum of their bytes.
std::vector<QuantizedRows> quantize(ThreadPool& pool, const Table& table,
                                    std::span<const QuantizeRows> requests, void* memory);

// y (rows, out) = x W^T.
struct QuantLinear {
  Blocks format = Blocks::none;
  const void* w = nullptr;
  int64_t w_row = 0;  // bytes from one row of W to the next; a row is whole blocks
  int64_t out = 0;
  const QuantizedRows* x = nullptr;
  float* y = nullptr;
  int64_t y_row = 0;
};
// All problems share the threads together. Outputs must not overlap. CHECKs formats and strides.
void quant_linear(ThreadPool& pool, const Table& table, std::span<const QuantLinear> problems);

}  // namespace frugal::kernels
