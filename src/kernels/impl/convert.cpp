// Element-wise conversions and functions over arrays.
#include "kernels/impl/quant_load.h"
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {

void f32_to_bf16(int64_t n, const float* x, uint16_t* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i));
  if (i < n) store_first(y + i, load_first(x + i, static_cast<int>(n - i)), static_cast<int>(n - i));
}

void bf16_to_f32(int64_t n, const uint16_t* x, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i));
  if (i < n) store_first(y + i, load_first(x + i, static_cast<int>(n - i)), static_cast<int>(n - i));
}

void f16_to_f32(int64_t n, const uint16_t* x, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    HalfVec halves;
    __builtin_memcpy(&halves, x + i, sizeof halves);
    store(y + i, half_to_float(__builtin_convertvector(halves, IntVec)));
  }
  for (; i < n; ++i) store_first(y + i, half_to_float(IntVec{x[i]}), 1);
}

void exp(int64_t n, const float* x, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, exp(load(x + i)));
  if (i < n) store_first(y + i, exp(load_first(x + i, static_cast<int>(n - i))), static_cast<int>(n - i));
}

}  // namespace frugal::kernels::KERNEL_TARGET
