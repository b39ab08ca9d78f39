// The register tile of the packed matrix product.
#pragma once

#include "kernels/impl/transpose.h"
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// A tile's sums, the two vectors of B and one broadcast fill the registers: 32 of them or 16.
#if defined(__AVX512F__)
constexpr int kGemmRows = 14;
#elif defined(__aarch64__)
constexpr int kGemmRows = 12;
#else
constexpr int kGemmRows = 6;
#endif
constexpr int kGemmVectors = 2;
constexpr int kGemmColumns = kGemmVectors * kLanes;

}  // namespace
}  // namespace frugal::kernels::KERNEL_TARGET
