// Rows of keys and values on their way into a cache and out of it.
#include <algorithm>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "core/error.h"

namespace frugal::ops {

constexpr int64_t kGrainValues = 1 << 13;

void store_rows(Context& ctx, const Tensor& rows, int64_t begin, int64_t end, const Format& format,
                std::byte* to) {
  CHECK(ctx.tape == nullptr, "what a cache holds has no gradient");
  const int64_t width = rows.cols();
  CHECK(width % format.block == 0, "rows of {} values in blocks of {}", width, format.block);
  const OpScope scope(ctx, "store in cache", 0, static_cast<double>(format.bytes((end - begin) * width)));
  if (ctx.dry_run()) return;
  const float* from = rows.f32() + begin * width;
  const int64_t grain = std::max<int64_t>(1, kGrainValues / width);
  ctx.pool.parallel_for(end - begin, grain, [&](int64_t first, int64_t last, int) {
    format.encode(from + first * width, to + format.bytes(first * width), (last - first) * width);
  });
}

Tensor load_rows(Context& ctx, const std::byte* from, int64_t count, int64_t width, const Format& format) {
  CHECK(width % format.block == 0, "rows of {} values in blocks of {}", width, format.block);
  const OpScope scope(ctx, "load from cache", 0, static_cast<double>(format.bytes(count * width)));
  Tensor out = Tensor::empty(ctx, {count, width});
  if (ctx.dry_run()) return out;
  const int64_t grain = std::max<int64_t>(1, kGrainValues / width);
  ctx.pool.parallel_for(count, grain, [&](int64_t first, int64_t last, int) {
    format.decode(from + format.bytes(first * width), out.f32() + first * width, (last - first) * width);
  });
  return out;
}

}  // namespace frugal::ops
