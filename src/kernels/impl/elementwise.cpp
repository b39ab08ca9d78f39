// Sums, products and the AdamW step over flat arrays.
#include "kernels/impl/loop.h"
#include "kernels/kernels.h"
#include "kernels/rowwise_args.h"

namespace frugal::kernels::KERNEL_TARGET {

void add(int64_t n, const float* a, const float* b, float* y) {
  for_vectors(n, [&](int64_t i, auto part) { put(y + i, get(a + i, part) + get(b + i, part), part); });
}

void axpy(int64_t n, float alpha, const float* x, float* y) {
  for_vectors(n, [&](int64_t i, auto part) {
    put(y + i, fma(get(x + i, part), broadcast(alpha), get(y + i, part)), part);
  });
}

void scale(int64_t n, float alpha, const float* x, float* y) {
  for_vectors(n, [&](int64_t i, auto part) { put(y + i, get(x + i, part) * alpha, part); });
}

double sum_of_squares(int64_t n, const float* x) {
  constexpr int64_t kBlock = 1024;  // summed in f32, short enough to lose nothing that matters
  double total = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    total +=
        static_cast<double>(sum_vectors(n - first < kBlock ? n - first : kBlock, [&](int64_t i, auto part) {
          const Vec v = get(x + first + i, part);
          return v * v;
        }));
  }
  return total;
}

void adamw_update(const AdamW& a, int64_t n, const float* g, float* p, float* m, float* v) {
  const float decay = 1.0f - a.lr * a.weight_decay, step = a.lr / a.bias1;
  const float root = 1.0f / __builtin_sqrtf(a.bias2);
  for_vectors(n, [&](int64_t i, auto part) {
    const Vec grad = get(g + i, part) * a.grad_scale;
    const Vec first = fma(grad - get(m + i, part), broadcast(1.0f - a.beta1), get(m + i, part));
    const Vec second = fma(grad * (1.0f - a.beta2), grad, get(v + i, part) * a.beta2);
    put(m + i, first, part);
    put(v + i, second, part);
    put(p + i, get(p + i, part) * decay - first * step / fma(sqrt(second), broadcast(root), broadcast(a.eps)),
        part);
  });
}

}  // namespace frugal::kernels::KERNEL_TARGET
