// y = x W + b with W (in, out): GPT-2's Conv1D. Always through the packed GEMM, which takes any strides.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/low_rank.h"
#include "autograd/ops/matmul.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

void run(const Context& ctx, const kernels::Gemm& problem) {
  if (!ctx.dry_run()) kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, precision(ctx));
}

kernels::Gemm product(const Tensor& x, const WeightView& w, int64_t out, float* y) {
  const int64_t in = x.cols();
  return {.m = x.rows(),
          .n = out,
          .k = in,
          .a = x.f32(),
          .a_row = in,
          .a_col = 1,
          .b = w.data,
          .b_type = w.type,
          .b_row = out,
          .b_col = 1,
          .c = y,
          .c_row = out};
}

void backward(const Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Tensor& y) {
  const int64_t in = weight.dim(0), out = weight.cols(), rows = x.rows();
  const float* dy = y.gradient();
  if (x.needs_gradient()) {
    const auto dx = x.gradient_target(ctx);
    const WeightView w = ctx.dry_run() ? WeightView{} : view_weight(weight);
    run(ctx, {.m = rows,
              .n = in,
              .k = out,
              .a = dy,
              .a_row = out,
              .a_col = 1,
              .b = w.data,
              .b_type = w.type,
              .b_row = 1,
              .b_col = out,
              .c = dx.data,
              .c_row = in,
              .accumulate = dx.accumulate});
  }
  if (weight.needs_gradient()) {
    const auto dw = weight.gradient_target(ctx);
    run(ctx, {.m = in,
              .n = out,
              .k = rows,
              .a = x.f32(),
              .a_row = 1,
              .a_col = in,
              .b = dy,
              .b_type = kernels::Element::f32,
              .b_row = out,
              .b_col = 1,
              .c = dw.data,
              .c_row = out,
              .accumulate = dw.accumulate});
  }
  if (bias && bias.needs_gradient()) {
    float* db = bias.gradient_sum(ctx);
    if (!ctx.dry_run()) kernels::sum_rows(ctx.pool, ctx.kernels, rows, out, dy, 0, db);
  }
}

}  // namespace

Tensor linear_transposed(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  CHECK(x.cols() == weight.dim(0), "x {} with weight {}", to_string(x.shape()), to_string(weight.shape()));
  if (weight.low_rank() != nullptr) {
    const auto plain = [](Context& c, const Tensor& in, const Tensor& w, const Tensor& b) {
      return linear_transposed(c, in, w, b);
    };
    return adapted_product(ctx, x, weight, bias, plain);
  }
  const OpScope scope(ctx, "linear", product_flops(x.rows(), x.cols(), weight.cols()), bytes_of(weight));
  Tensor y = Tensor::empty(ctx, {x.rows(), weight.cols()});
  if (!ctx.dry_run()) {
    observe_input(ctx, weight, x.f32(), x.rows(), x.cols());
    run(ctx, product(x, view_weight(weight), weight.cols(), y.f32()));
    if (bias) add_bias(ctx, y, bias);
  }
  if (recording(ctx, x, weight, bias)) {
    y.require_gradient(false);
    ctx.tape->record(y, [x = weight.needs_gradient() ? x : x.gradient_handle(), weight, bias,
                         y = y.gradient_handle()](const Context& c) { backward(c, x, weight, bias, y); });
  }
  return y;
}

}  // namespace frugal::ops
