#include "io/gguf_layout.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace frugal {

Tensor decoded_copy(Context& ctx, const Tensor& stored) {
  Tensor out = Tensor::empty(ctx, stored.shape());
  if (ctx.dry_run()) return out;
  const int64_t cols = stored.cols(),
                grain = std::max<int64_t>(1, (int64_t{1} << 16) / std::max<int64_t>(cols, 1));
  ctx.pool.parallel_for(stored.rows(), grain, [&](int64_t begin, int64_t end, int) {
    stored.decode_rows(begin, end, out.f32() + begin * cols);
  });
  return out;
}

Tensor reorder_rotated(Context& ctx, const Tensor& stored, int64_t width, bool to_hf) {
  const int64_t rows = stored.shape().size() == 1 ? stored.size() : stored.rows();
  CHECK(width > 0 && rows % width == 0);
  Tensor out = Tensor::empty(ctx, stored.shape(), stored.format());
  if (ctx.dry_run()) return out;
  const auto bytes = static_cast<size_t>(stored.format().bytes(stored.size() / rows));
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t other = r / width * width + rotated_row(r % width, width);
    const size_t from = static_cast<size_t>(to_hf ? other : r) * bytes,
                 to = static_cast<size_t>(to_hf ? r : other) * bytes;
    std::memcpy(out.data() + to, stored.data() + from, bytes);
  }
  return out;
}

Tensor transposed_copy(Context& ctx, const Tensor& stored) {
  CHECK(stored.shape().size() == 2);
  const int64_t rows = stored.rows(), cols = stored.cols();
  Tensor out = Tensor::empty(ctx, {cols, rows});
  if (ctx.dry_run()) return out;
  constexpr int64_t kRows = 16;
  std::vector<float> block(static_cast<size_t>(kRows * cols));
  for (int64_t r = 0; r < rows; r += kRows) {
    const int64_t n = std::min(kRows, rows - r);
    stored.decode_rows(r, r + n, block.data());
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t i = 0; i < n; ++i) out.f32()[c * rows + r + i] = block[static_cast<size_t>(i * cols + c)];
    }
  }
  return out;
}

Tensor join_kv(Context& ctx, const Tensor& k_b, const Tensor& v_b, const GgufWidths& w) {
  const int64_t rank = v_b.cols();
  Tensor out = Tensor::empty(ctx, {w.heads * (w.nope + w.value), rank});
  if (ctx.dry_run()) return out;
  std::vector<float> k(static_cast<size_t>(rank * w.nope));
  for (int64_t h = 0; h < w.heads; ++h) {
    float* rows = out.f32() + h * (w.nope + w.value) * rank;
    k_b.decode_rows(h * rank, (h + 1) * rank, k.data());
    for (int64_t r = 0; r < rank; ++r) {
      for (int64_t n = 0; n < w.nope; ++n) rows[n * rank + r] = k[static_cast<size_t>(r * w.nope + n)];
    }
    v_b.decode_rows(h * w.value, (h + 1) * w.value, rows + w.nope * rank);
  }
  return out;
}

SplitKv split_kv(Context& ctx, const Tensor& kv_b, const GgufWidths& w) {
  const int64_t rank = kv_b.cols(), height = w.nope + w.value;
  CHECK(kv_b.rows() == w.heads * height);
  SplitKv out{Tensor::empty(ctx, {w.heads, rank, w.nope}), Tensor::empty(ctx, {w.heads, w.value, rank})};
  if (ctx.dry_run()) return out;
  std::vector<float> rows(static_cast<size_t>(height * rank));
  for (int64_t h = 0; h < w.heads; ++h) {
    kv_b.decode_rows(h * height, (h + 1) * height, rows.data());
    float* k = out.k_b.f32() + h * rank * w.nope;
    for (int64_t n = 0; n < w.nope; ++n) {
      for (int64_t r = 0; r < rank; ++r) k[r * w.nope + n] = rows[static_cast<size_t>(n * rank + r)];
    }
    std::copy(rows.begin() + w.nope * rank, rows.end(), out.v_b.f32() + h * w.value * rank);
  }
  return out;
}

}  // namespace frugal
