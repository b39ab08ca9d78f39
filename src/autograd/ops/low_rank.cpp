// y = x W^T + scale (x A^T) B^T: the frozen product runs as it always does, the adapter's is added to its
// output in place. With DoRA every output is then scaled by magnitude / |row of W + scale B A|. The norm
// needs no decoded W:
//   |W_o + s B_o A|^2 = |W_o|^2 + 2 s B_o . (A W^T)_o + s^2 B_o (A A^T) B_o^T
// where A W^T is a product of r more rows.
#include "autograd/ops/low_rank.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

void run(const Context& ctx, const kernels::Gemm& problem) {
  kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, precision(ctx));
}

WeightView view_of(const Tensor& f32) {
  return {f32.data(), kernels::Element::f32, {}};
}

void scale_in_place(const Context& ctx, int64_t n, float factor, float* x) {
  if (factor != 1) kernels::scale(ctx.pool, ctx.kernels, n, factor, x, x);
}

// Multiplies by 1 / (1 - p) or 0, by the counter of each entry's place. `from` may be `to`.
void drop(const Context& ctx, const LowRank& l, int64_t rows, int64_t width, const float* from, float* to) {
  const LowRankDropout& d = *l.dropout;
  const auto keep = static_cast<float>(1 / (1 - d.probability));
  const auto threshold = static_cast<uint32_t>(d.probability * 4294967296.0);
  ctx.pool.parallel_for(rows, 16, [&](int64_t begin, int64_t end, int) {
    Rng rng(d.key, l.stream, static_cast<uint64_t>(begin) * static_cast<uint64_t>(width));
    for (int64_t i = begin * width; i < end * width; ++i)
      to[i] = rng.bits() < threshold ? 0.0f : from[i] * keep;
  });
}

bool drops(const LowRank& l) {
  return l.dropout && l.dropout->probability > 0 && l.dropout->key != 0;
}

// What A meets: x, or x with entries left out.
Tensor input_of(const Context& ctx, const LowRank& l, const Tensor& x) {
  if (!drops(l)) return x.detached();
  Tensor dropped = Tensor::empty(ctx, {x.rows(), x.cols()});
  if (!ctx.dry_run()) drop(ctx, l, x.rows(), x.cols(), x.f32(), dropped.f32());
  return dropped;
}

void backward(const Context& ctx, const LowRank& l, const Tensor& x, const Tensor& h, const Tensor& y) {
  const int64_t rows = x.rows();
  Tensor dh = Tensor::empty(ctx, {rows, l.rank()});
  const bool dropping = drops(l);
  Tensor dropped_gradient;
  Tensor::GradientTarget dx{nullptr, false};
  if (x.needs_gradient()) {
    dx = x.gradient_target(ctx);
    if (dropping) dropped_gradient = Tensor::empty(ctx, {rows, x.cols()});
  }
  const Tensor input = l.trains() ? input_of(ctx, l, x) : Tensor{};
  if (l.trains() && ctx.dry_run()) {
    l.a.gradient_target(ctx);
    l.b.gradient_target(ctx);
  }
  if (ctx.dry_run()) return;
  if (dropping && dx.data != nullptr) {
    low_rank_input_gradient(ctx, l, y.gradient(), rows, dh.f32(), {dropped_gradient.f32(), false});
    drop(ctx, l, rows, x.cols(), dropped_gradient.f32(), dropped_gradient.f32());
    if (dx.accumulate) {
      kernels::axpy(ctx.pool, ctx.kernels, x.size(), 1.0f, dropped_gradient.f32(), dx.data);
    } else {
      kernels::scale(ctx.pool, ctx.kernels, x.size(), 1.0f, dropped_gradient.f32(), dx.data);
    }
  } else {
    low_rank_input_gradient(ctx, l, y.gradient(), rows, dh.f32(), dx);
  }
  if (l.trains()) low_rank_weight_gradient(ctx, l, input.f32(), h.f32(), y.gradient(), dh.f32(), rows);
}

// y += the adapter's product, recorded on y itself.
void add_low_rank(Context& ctx, const Tensor& x, const Tensor& weight, Tensor& y) {
  const LowRank& l = *weight.low_rank();
  Tensor h = Tensor::empty(ctx, {x.rows(), l.rank()});
  {
    const Tensor input = input_of(ctx, l, x);
    if (!ctx.dry_run()) low_rank_forward(ctx, l, input.f32(), x.rows(), h.f32(), y.f32());
  }
  if (!recording(ctx, x, l.a, l.b)) return;
  const bool mine = !y.needs_gradient();
  if (mine) y.require_gradient(false);
  auto closure = [x, weight, h, y = y.gradient_handle()](const Context& c) {
    backward(c, *weight.low_rank(), x, h, y);
  };
  mine ? ctx.tape->record(y, std::move(closure)) : ctx.tape->record_in_place(y, std::move(closure));
}

// |W + scale B A| of every output.
std::vector<float> adapted_norms(Context& ctx, const Tensor& weight, PlainProduct plain) {
  const LowRank& l = *weight.low_rank();
  const int64_t rank = l.rank(), in = l.in(), out = l.out();
  Context quiet = ctx;
  quiet.tape = nullptr;
  quiet.compute = Compute::exact;
  const Tensor crossed = plain(quiet, l.a.detached(), weight.without_low_rank(), {});  // A W^T (r, out)
  std::vector<double> gram(static_cast<size_t>(rank * rank));
  std::vector<float> norms(static_cast<size_t>(out));
  if (ctx.dry_run()) return norms;
  const float* a = l.a.f32();
  for (int64_t j = 0; j < rank; ++j) {
    for (int64_t k = 0; k <= j; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < in; ++i)
        sum += static_cast<double>(a[j * in + i]) * static_cast<double>(a[k * in + i]);
      gram[static_cast<size_t>(j * rank + k)] = gram[static_cast<size_t>(k * rank + j)] = sum;
    }
  }
  ctx.pool.parallel_for(out, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t o = begin; o < end; ++o) {
      const float* b = l.b.f32() + o * rank;
      double cross = 0, own = 0;
      for (int64_t j = 0; j < rank; ++j) {
        double row = 0;
        for (int64_t k = 0; k < rank; ++k)
          row += gram[static_cast<size_t>(j * rank + k)] * static_cast<double>(b[k]);
        own += row * static_cast<double>(b[j]);
        cross += static_cast<double>(b[j]) * static_cast<double>(crossed.f32()[j * out + o]);
      }
      const double s = l.scale,
                   square = static_cast<double>(l.base_squares.f32()[o]) + 2 * s * cross + s * s * own;
      norms[static_cast<size_t>(o)] = static_cast<float>(std::sqrt(std::max(square, 0.0)));
    }
  });
  return norms;
}

// y = z magnitude / norm + bias, the norm held constant.
Tensor scale_outputs(Context& ctx, const Tensor& z, const Tensor& magnitude, std::vector<float> norms,
                     const Tensor& bias) {
  const int64_t rows = z.rows(), out = z.cols();
  Tensor y = Tensor::empty(ctx, {rows, out});
  if (!ctx.dry_run()) {
    ctx.pool.parallel_for(rows, 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t o = 0; o < out; ++o) {
          y.f32()[r * out + o] = z.f32()[r * out + o] * magnitude.f32()[o] / norms[static_cast<size_t>(o)];
        }
      }
    });
    if (bias) add_bias(ctx, y, bias);
  }
  if (!recording(ctx, z, magnitude, bias)) return y;
  y.require_gradient(false);
  ctx.tape->record(y,
                   [z, magnitude, norms = std::move(norms), bias, y = y.gradient_handle()](const Context& c) {
                     const int64_t n = y.rows(), width = y.cols();
                     const float* dy = y.gradient();
                     if (bias && bias.needs_gradient()) {
                       float* db = bias.gradient_sum(c);
                       if (!c.dry_run()) kernels::sum_rows(c.pool, c.kernels, n, width, dy, 0, db);
                     }
                     if (magnitude.needs_gradient()) {
                       Tensor product = Tensor::empty(c, {n, width});
                       float* dm = magnitude.gradient_sum(c);
                       if (!c.dry_run()) {
                         c.pool.parallel_for(n, 64, [&](int64_t begin, int64_t end, int) {
                           for (int64_t r = begin; r < end; ++r) {
                             for (int64_t o = 0; o < width; ++o) {
                               const int64_t i = r * width + o;
                               product.f32()[i] = dy[i] * z.f32()[i] / norms[static_cast<size_t>(o)];
                             }
                           }
                         });
                         kernels::sum_rows(c.pool, c.kernels, n, width, product.f32(), 0, dm);
                       }
                     }
                     if (!z.needs_gradient()) return;
                     const auto dz = z.gradient_target(c);
                     if (c.dry_run()) return;
                     c.pool.parallel_for(n, 64, [&](int64_t begin, int64_t end, int) {
                       for (int64_t r = begin; r < end; ++r) {
                         for (int64_t o = 0; o < width; ++o) {
                           const int64_t i = r * width + o;
                           const float value = dy[i] * magnitude.f32()[o] / norms[static_cast<size_t>(o)];
                           dz.data[i] = dz.accumulate ? dz.data[i] + value : value;
                         }
                       }
                     });
                   });
  return y;
}

}  // namespace

void low_rank_input(const Context& ctx, const LowRank& l, const float* x, int64_t rows, float* h) {
  const Product down{x, rows, &l.a, h};
  multiply(ctx, {&down, 1});
  scale_in_place(ctx, rows * l.rank(), l.scale, h);
}

void low_rank_forward(const Context& ctx, const LowRank& l, const float* x, int64_t rows, float* h,
                      float* y) {
  low_rank_input(ctx, l, x, rows, h);
  if (!ctx.stream_weights) {
    const WeightView b = view_of(l.b);
    kernels::Gemm up = forward_problem(h, rows, l.b, b, y);
    up.accumulate = true;
    run(ctx, up);
    return;
  }
  Tensor update = Tensor::empty(ctx, {rows, l.out()});
  const Product up{h, rows, &l.b, update.f32()};
  multiply(ctx, {&up, 1});
  kernels::axpy(ctx.pool, ctx.kernels, update.size(), 1.0f, update.f32(), y);
}

void low_rank_input_gradient(const Context& ctx, const LowRank& l, const float* dy, int64_t rows, float* dh,
                             Tensor::GradientTarget dx) {
  const WeightView a = view_of(l.a), b = view_of(l.b);
  run(ctx, input_gradient_problem(dy, l.b, b, rows, {dh, false}));
  scale_in_place(ctx, rows * l.rank(), l.scale, dh);
  if (dx.data != nullptr) run(ctx, input_gradient_problem(dh, l.a, a, rows, dx));
}

void low_rank_weight_gradient(const Context& ctx, const LowRank& l, const float* x, const float* h,
                              const float* dy, const float* dh, int64_t rows) {
  if (l.b.needs_gradient()) run(ctx, weight_gradient_problem(dy, h, rows, l.b, l.b.gradient_target(ctx)));
  if (l.a.needs_gradient()) run(ctx, weight_gradient_problem(dh, x, rows, l.a, l.a.gradient_target(ctx)));
}

Tensor adapted_product(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                       PlainProduct plain) {
  const LowRank& l = *weight.low_rank();
  const bool dora = static_cast<bool>(l.magnitude);
  Tensor y = plain(ctx, x, weight.without_low_rank(), dora ? Tensor{} : bias);
  add_low_rank(ctx, x, weight, y);
  return dora ? scale_outputs(ctx, y, l.magnitude, adapted_norms(ctx, weight, plain), bias) : y;
}

}  // namespace frugal::ops
