// Rotary position embedding (Su et al. 2021), in place: the gradient is turned back in place too, so rotating
// costs no memory. The producer of x must not need its output in its own backward (a matrix product does
// not).
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

static void rotate(const Context& ctx, float* x, int64_t rows, int64_t row_width, const Tensor& table,
                   const std::vector<int32_t>& positions, const RopeOptions& o, bool inverse) {
  kernels::rope_apply(ctx.pool, ctx.kernels,
                      {.rows = rows,
                       .heads = o.heads,
                       .dim = o.dim,
                       .x = x + o.offset,
                       .row_stride = row_width,
                       .head_stride = o.head_dim,
                       .cos_sin = table.f32(),
                       .positions = positions.data(),
                       .pairing = o.pairing == RopePairing::interleaved ? kernels::Pairing::interleaved
                                                                        : kernels::Pairing::halves,
                       .inverse = inverse});
}

Tensor rope(Context& ctx, Tensor x, const Tensor& table, std::span<const int32_t> positions,
            const RopeOptions& o) {
  CHECK(x.cols() == o.heads * o.head_dim && o.offset + o.dim <= o.head_dim && o.dim == 2 * table.dim(1));
  CHECK(static_cast<int64_t>(positions.size()) == x.rows());
  for (const int32_t p : positions) CHECK(p >= 0 && p < table.dim(0), "position {} of {}", p, table.dim(0));
  const OpScope scope(ctx, "rope", 0, 2 * bytes_of(x));
  std::vector<int32_t> at(positions.begin(), positions.end());
  if (!ctx.dry_run()) rotate(ctx, x.f32(), x.rows(), x.cols(), table, at, o, false);
  if (recording(ctx, x)) {
    ctx.tape->record_in_place(x, [x = x.gradient_handle(), table, at = std::move(at), o](const Context& c) {
      if (!c.dry_run()) rotate(c, x.gradient_values().data(), x.rows(), x.cols(), table, at, o, true);
    });
  }
  return x;
}

}  // namespace frugal::ops
