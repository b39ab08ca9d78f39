// Loops that measure the machine's bounds: floating-point peak and read bandwidth.
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {

int64_t fma_loop(int64_t rounds, float* sink) {
  // 12 chains cover two units of 4 to 5 cycles' latency and still fit 16 registers beside the two operands.
  constexpr int kChains = 12;
  Vec sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = broadcast(static_cast<float>(i));
  const Vec a = broadcast(0.999f), b = broadcast(1e-3f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = fma(sums[i], a, b);
  }
  Vec total = zero();
  for (int i = 0; i < kChains; ++i) total = total + sums[i];
  *sink = reduce_add(total);
  return rounds * kChains * kLanes * 2;
}

float read_loop(int64_t n, const float* x) {
  constexpr int kChains = 8;
  Vec sums[kChains] = {};
  int64_t i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes) {
#pragma GCC unroll 8
    for (int j = 0; j < kChains; ++j) sums[j] = sums[j] + load(x + i + j * kLanes);
  }
  Vec total = zero();
  for (int j = 0; j < kChains; ++j) total = total + sums[j];
  for (; i < n; i += kLanes)
    total = total + load_first(x + i, static_cast<int>(n - i < kLanes ? n - i : kLanes));
  return reduce_add(total);
}

}  // namespace frugal::kernels::KERNEL_TARGET
