// Rows of activations that quant_dot holds sums for at a time, "columns" of a panel: integer and f32 sums, a
// vector of codes and the scales fill 32 or 16 registers.
#pragma once

namespace frugal::kernels::KERNEL_TARGET {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kQuantColumns = 8;
#else
constexpr int kQuantColumns = 4;
#endif

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
