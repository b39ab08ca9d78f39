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

struct Table {
  const char* name;  // "scalar", "avx2", ...: what FRUGAL_KERNELS accepts
  int lanes;         // floats in one vector

  // --- the machine's bounds (impl/machine.cpp)
  // Runs `rounds` rounds of independent fused multiply-adds held in registers; returns the floating-point
  // operations done. Time it for the machine's peak. `sink` keeps the compiler honest.
  int64_t (*fma_loop)(int64_t rounds, float* sink);
  // Sum of x[0..n): time it on memory larger than the caches for the read bandwidth.
  float (*read_loop)(int64_t n, const float* x);

  // --- element-wise (impl/convert.cpp)
  void (*f32_to_bf16)(int64_t n, const float* x, uint16_t* y);  // round to nearest even; NaN stays NaN
  void (*bf16_to_f32)(int64_t n, const uint16_t* x, float* y);  // exact
  void (*exp)(int64_t n, const float* x, float* y);  // within 2 ulp; 0 below -104, +inf above 88.73
};

}  // namespace frugal::kernels
