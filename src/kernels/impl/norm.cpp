// RMSNorm and LayerNorm, forward and backward, one row at a time; the row is read from cache after its first
// pass.
#include "kernels/impl/loop.h"
#include "kernels/kernels.h"
#include "kernels/rowwise_args.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

// weight[i..] or ones.
template <class Part>
static inline Vec weight_at(const float* weight, int64_t i, Part part) {
  return weight ? get(weight + i, part) : broadcast(1.0f);
}

template <class Part>
static inline void put_gradient(float* dx, Vec value, bool accumulate, Part part) {
  put(dx, accumulate ? get(dx, part) + value : value, part);
}

static inline void add_to(int64_t n, const float* x, float* y) {
  for_vectors(n, [&](int64_t i, auto part) { put(y + i, get(y + i, part) + get(x + i, part), part); });
}

}  // namespace

void rms_norm_forward(const RmsNorm& a, int64_t begin, int64_t end) {
  const float inverse_dim = 1.0f / static_cast<float>(a.dim);
  for (int64_t row = begin; row < end; ++row) {
    const float* x = a.x + row * a.x_row;
    float* y = a.y + row * a.y_row;
    const float squares = sum_vectors(a.dim, [&](int64_t i, auto part) {
      const Vec v = get(x + i, part);
      return v * v;
    });
    const float inv = 1.0f / __builtin_sqrtf(squares * inverse_dim + a.eps);
    if (a.inv_rms) a.inv_rms[row] = inv;
    for_vectors(a.dim, [&](int64_t i, auto part) {
      put(y + i, get(x + i, part) * inv * weight_at(a.weight, i, part), part);
    });
  }
}

void rms_norm_backward(const RmsNormGrad& a, int64_t begin, int64_t end, float* dweight) {
  for (int64_t row = begin; row < end; ++row) {
    const float *x = a.x + row * a.x_row, *dy = a.dy + row * a.dy_row;
    const float inv = a.inv_rms[row];
    if (dweight) {
      for_vectors(a.dim, [&](int64_t i, auto part) {
        put(dweight + i, fma(get(dy + i, part), get(x + i, part) * inv, get(dweight + i, part)), part);
      });
    }
    if (!a.dx) continue;
    float* dx = a.dx + row * a.dx_row;
    const float dot = sum_vectors(a.dim, [&](int64_t i, auto part) {
      return get(dy + i, part) * weight_at(a.weight, i, part) * get(x + i, part);
    });
    const float slope = -inv * inv * inv * dot / static_cast<float>(a.dim);
    for_vectors(a.dim, [&](int64_t i, auto part) {
      const Vec direct = get(dy + i, part) * weight_at(a.weight, i, part) * inv;
      put_gradient(dx + i, fma(get(x + i, part), broadcast(slope), direct), a.accumulate, part);
    });
  }
}

void layer_norm_forward(const LayerNorm& a, int64_t begin, int64_t end) {
  const float inverse_dim = 1.0f / static_cast<float>(a.dim);
  for (int64_t row = begin; row < end; ++row) {
    const float* x = a.x + row * a.x_row;
    float* y = a.y + row * a.y_row;
    const float mean =
        sum_vectors(a.dim, [&](int64_t i, auto part) { return get(x + i, part); }) * inverse_dim;
    const float squares = sum_vectors(a.dim, [&](int64_t i, auto part) {
      const Vec v = keep(get(x + i, part) - mean, 0.0f, part);
      return v * v;
    });
    const float inv = 1.0f / __builtin_sqrtf(squares * inverse_dim + a.eps);
    if (a.mean) a.mean[row] = mean;
    if (a.inv_std) a.inv_std[row] = inv;
    for_vectors(a.dim, [&](int64_t i, auto part) {
      const Vec scaled = (get(x + i, part) - mean) * inv * weight_at(a.weight, i, part);
      put(y + i, a.bias ? scaled + get(a.bias + i, part) : scaled, part);
    });
  }
}

void layer_norm_backward(const LayerNormGrad& a, int64_t begin, int64_t end, float* dweight, float* dbias) {
  const float inverse_dim = 1.0f / static_cast<float>(a.dim);
  for (int64_t row = begin; row < end; ++row) {
    const float *x = a.x + row * a.x_row, *dy = a.dy + row * a.dy_row;
    const float mean = a.mean[row], inv = a.inv_std[row];
    if (dbias) add_to(a.dim, dy, dbias);
    if (dweight) {
      for_vectors(a.dim, [&](int64_t i, auto part) {
        const Vec normal = (get(x + i, part) - mean) * inv;
        put(dweight + i, fma(get(dy + i, part), normal, get(dweight + i, part)), part);
      });
    }
    if (!a.dx) continue;
    float* dx = a.dx + row * a.dx_row;
    const auto dnormal = [&](int64_t i, auto part) {
      return get(dy + i, part) * weight_at(a.weight, i, part);
    };
    const float sum = sum_vectors(a.dim, dnormal);
    const float dot = sum_vectors(
        a.dim, [&](int64_t i, auto part) { return dnormal(i, part) * ((get(x + i, part) - mean) * inv); });
    const float offset = sum * inverse_dim, slope = dot * inverse_dim;
    for_vectors(a.dim, [&](int64_t i, auto part) {
      const Vec normal = (get(x + i, part) - mean) * inv;
      put_gradient(dx + i, (dnormal(i, part) - offset - normal * slope) * inv, a.accumulate, part);
    });
  }
}

void add_rows(int64_t rows, int64_t cols, const float* x, int64_t x_row, float* y) {
  for (int64_t row = 0; row < rows; ++row) add_to(cols, x + row * x_row, y);
}

}  // namespace frugal::kernels::KERNEL_TARGET
