// Token embedding: a row look-up. The gradient adds rows into the table in the order of the tokens.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/matmul.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

Tensor embedding(Context& ctx, std::span<const int32_t> tokens, const Tensor& table) {
  const int64_t rows = static_cast<int64_t>(tokens.size()), width = table.cols();
  for (const int32_t token : tokens)
    CHECK(token >= 0 && token < table.dim(0), "token {} of {}", token, table.dim(0));
  const OpScope scope(ctx, "embedding");
  Tensor y = Tensor::empty(ctx, {rows, width});
  if (!ctx.dry_run()) {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t token = tokens[static_cast<size_t>(r)];
      decode_rows(ctx, table, token, token + 1, y.f32() + r * width);
    }
  }
  if (recording(ctx, table)) {
    y.require_gradient(false);
    ctx.tape->record(y, [y = y.gradient_handle(), table = table.gradient_handle(),
                         ids = std::vector<int32_t>(tokens.begin(), tokens.end())](const Context& c) {
      float* sum = table.gradient_sum(c);
      if (c.dry_run()) return;
      kernels::scatter_add_rows(c.pool, c.kernels,
                                {.rows = y.rows(),
                                 .dim = y.cols(),
                                 .x = y.gradient(),
                                 .index = ids.data(),
                                 .out = sum,
                                 .out_rows = table.dim(0)});
    });
  }
  return y;
}

}  // namespace frugal::ops
