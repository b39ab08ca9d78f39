// Moving columns and rows: slices, side-by-side joins, gathered rows.
#include <cstring>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

struct Block {  // columns of a row-major array
  int64_t row, begin;
};

void copy_columns(const Context& ctx, int64_t rows, int64_t width, const float* from, Block f, float* to,
                  Block t) {
  if (ctx.dry_run()) return;
  ctx.pool.parallel_for(rows, 64, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      std::memcpy(to + r * t.row + t.begin, from + r * f.row + f.begin,
                  static_cast<size_t>(width) * sizeof(float));
    }
  });
}

void add_columns(const Context& ctx, int64_t rows, int64_t width, const float* from, Block f, float* to,
                 Block t) {
  if (ctx.dry_run()) return;
  ctx.pool.parallel_for(rows, 64, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      const float* a = from + r * f.row + f.begin;
      float* b = to + r * t.row + t.begin;
      for (int64_t c = 0; c < width; ++c) b[c] += a[c];
    }
  });
}

}  // namespace

Tensor columns(Context& ctx, const Tensor& x, int64_t begin, int64_t end) {
  CHECK(0 <= begin && begin < end && end <= x.cols());
  const OpScope scope(ctx, "columns");
  Tensor y = Tensor::empty(ctx, {x.rows(), end - begin});
  const Block wide{x.cols(), begin}, narrow{end - begin, 0};
  copy_columns(ctx, x.rows(), end - begin, ctx.dry_run() ? nullptr : x.f32(), wide, y.f32(), narrow);
  if (recording(ctx, x)) {
    y.require_gradient(false);
    ctx.tape->record(y, [x = x.gradient_handle(), y = y.gradient_handle(), wide, narrow](const Context& c) {
      float* dx = x.gradient_sum(c);
      add_columns(c, x.rows(), y.cols(), y.gradient(), narrow, dx, wide);
    });
  }
  return y;
}

Tensor concat_columns(Context& ctx, const Tensor& a, const Tensor& b) {
  CHECK(a.rows() == b.rows());
  const int64_t wa = a.cols(), wb = b.cols(), rows = a.rows();
  const OpScope scope(ctx, "columns", 0, 2 * bytes_of(a, b));
  Tensor y = Tensor::empty(ctx, {rows, wa + wb});
  copy_columns(ctx, rows, wa, a.f32(), {wa, 0}, y.f32(), {wa + wb, 0});
  copy_columns(ctx, rows, wb, b.f32(), {wb, 0}, y.f32(), {wa + wb, wa});
  if (recording(ctx, a, b)) {
    y.require_gradient(false);
    ctx.tape->record(
        y, [a = a.gradient_handle(), b = b.gradient_handle(), y = y.gradient_handle()](const Context& c) {
          const int64_t width = y.cols(), left = a.cols();
          if (a.needs_gradient())
            add_columns(c, y.rows(), left, y.gradient(), {width, 0}, a.gradient_sum(c), {left, 0});
          if (b.needs_gradient()) {
            add_columns(c, y.rows(), b.cols(), y.gradient(), {width, left}, b.gradient_sum(c), {b.cols(), 0});
          }
        });
  }
  return y;
}

Tensor gather_rows(Context& ctx, const Tensor& x, std::span<const int64_t> indices) {
  std::vector<int32_t> index;
  for (const int64_t i : indices) {
    CHECK(i >= 0 && i < x.rows(), "row {} of {}", i, x.rows());
    index.push_back(static_cast<int32_t>(i));
  }
  const OpScope scope(ctx, "columns");
  Tensor y = Tensor::empty(ctx, {static_cast<int64_t>(index.size()), x.cols()});
  if (!ctx.dry_run()) {
    kernels::gather_rows(
        ctx.pool, ctx.kernels,
        {.rows = y.rows(), .dim = y.cols(), .x = x.f32(), .index = index.data(), .out = y.f32()});
  }
  if (recording(ctx, x)) {
    y.require_gradient(false);
    ctx.tape->record(
        y, [x = x.gradient_handle(), y = y.gradient_handle(), index = std::move(index)](const Context& c) {
          float* dx = x.gradient_sum(c);
          if (c.dry_run()) return;
          kernels::scatter_add_rows(c.pool, c.kernels,
                                    {.rows = y.rows(),
                                     .dim = y.cols(),
                                     .x = y.gradient(),
                                     .index = index.data(),
                                     .out = dx,
                                     .out_rows = x.rows()});
        });
  }
  return y;
}

}  // namespace frugal::ops
