#include "kernels/rowwise.h"

#include <algorithm>

#include "core/error.h"

namespace frugal::kernels {
namespace {

constexpr int64_t kFlatChunk = 1 << 14;  // elements of a flat array that one thread takes at a time

int64_t chunks_of(int64_t rows) {
  return (rows + kRowChunk - 1) / kRowChunk;
}

// Rows per work item, so that an item touches about kFlatChunk elements.
int64_t grain_for(int64_t row_cost) {
  return std::max<int64_t>(1, kFlatChunk / std::max<int64_t>(1, row_cost));
}

// Runs body(begin, end) over rows.
template <class Body>
void over_rows(ThreadPool& pool, int64_t rows, int64_t row_cost, Body&& body) {
  pool.parallel_for(rows, grain_for(row_cost), [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

void contiguous_unless_set(int64_t& stride, int64_t width) {
  if (stride == 0) stride = width;
  CHECK(stride >= width, "row stride {} is less than the row's width {}", stride, width);
}

// For reductions over rows: body(begin, end, partial) adds rows of one chunk into `partial` (width floats,
// zeroed); the partial sums are then added to each of `outputs` (consecutive slices of a partial) in the
// order of chunks.
struct Slice {
  float* output;  // null: not wanted, and not part of a partial
  int64_t width;
};
template <class Body>
void reduce_rows(ThreadPool& pool, const Table& table, int64_t rows, std::initializer_list<Slice> slices,
                 Body&& body) {
  int64_t width = 0;
  for (const Slice& slice : slices) width += slice.output ? slice.width : 0;
  const int64_t chunks = chunks_of(rows);
  if (chunks == 0) return;
  auto* partials = static_cast<float*>(
      pool.scratch(pool.this_worker(), sizeof(float) * static_cast<size_t>(chunks * width)));
  pool.parallel_for(rows, kRowChunk, [&](int64_t begin, int64_t end, int) {
    float* partial = partials + begin / kRowChunk * width;
    std::fill_n(partial, width, 0.0f);
    body(begin, end, partial);
  });
  int64_t offset = 0;
  for (const Slice& slice : slices) {
    if (!slice.output) continue;
    over_rows(pool, slice.width, chunks, [&](int64_t begin, int64_t end) {
      table.add_rows(chunks, end - begin, partials + offset + begin, width, slice.output + begin);
    });
    offset += slice.width;
  }
}

}  // namespace

void rms_norm_forward(ThreadPool& pool, const Table& table, RmsNorm a) {
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.y_row, a.dim);
  over_rows(pool, a.rows, a.dim, [&](int64_t begin, int64_t end) { table.rms_norm_forward(a, begin, end); });
}

void rms_norm_backward(ThreadPool& pool, const Table& table, RmsNormGrad a) {
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.dy_row, a.dim);
  contiguous_unless_set(a.dx_row, a.dim);
  reduce_rows(pool, table, a.rows, {{a.dweight, a.dim}}, [&](int64_t begin, int64_t end, float* partial) {
    table.rms_norm_backward(a, begin, end, a.dweight ? partial : nullptr);
  });
}

void layer_norm_forward(ThreadPool& pool, const Table& table, LayerNorm a) {
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.y_row, a.dim);
  over_rows(pool, a.rows, a.dim,
            [&](int64_t begin, int64_t end) { table.layer_norm_forward(a, begin, end); });
}

void layer_norm_backward(ThreadPool& pool, const Table& table, LayerNormGrad a) {
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.dy_row, a.dim);
  contiguous_unless_set(a.dx_row, a.dim);
  const int64_t bias_at = a.dweight ? a.dim : 0;
  reduce_rows(pool, table, a.rows, {{a.dweight, a.dim}, {a.dbias, a.dim}},
              [&](int64_t begin, int64_t end, float* partial) {
                table.layer_norm_backward(a, begin, end, a.dweight ? partial : nullptr,
                                          a.dbias ? partial + bias_at : nullptr);
              });
}

void sum_rows(ThreadPool& pool, const Table& table, int64_t rows, int64_t cols, const float* x, int64_t x_row,
              float* y) {
  contiguous_unless_set(x_row, cols);
  reduce_rows(pool, table, rows, {{y, cols}}, [&](int64_t begin, int64_t end, float* partial) {
    table.add_rows(end - begin, cols, x + begin * x_row, x_row, partial);
  });
}

void rope_apply(ThreadPool& pool, const Table& table, const Rope& a) {
  CHECK(a.dim % 2 == 0, "rope rotates pairs, dim = {}", a.dim);
  over_rows(pool, a.rows, a.heads * a.dim,
            [&](int64_t begin, int64_t end) { table.rope_apply(a, begin, end); });
}

void swiglu_forward(ThreadPool& pool, const Table& table, Swiglu a) {
  contiguous_unless_set(a.gate_row, a.cols);
  contiguous_unless_set(a.up_row, a.cols);
  contiguous_unless_set(a.out_row, a.cols);
  over_rows(pool, a.rows, 4 * a.cols,
            [&](int64_t begin, int64_t end) { table.swiglu_forward(a, begin, end); });
}

void swiglu_backward(ThreadPool& pool, const Table& table, SwigluGrad a) {
  for (int64_t* stride : {&a.gate_row, &a.up_row, &a.dout_row, &a.dgate_row, &a.dup_row}) {
    contiguous_unless_set(*stride, a.cols);
  }
  over_rows(pool, a.rows, 4 * a.cols,
            [&](int64_t begin, int64_t end) { table.swiglu_backward(a, begin, end); });
}

void cross_entropy_rows(ThreadPool& pool, const Table& table, CrossEntropy a) {
  contiguous_unless_set(a.logits_row, a.vocab);
  for (int64_t row = 0; row < a.rows; ++row) {
    CHECK(a.targets[row] < a.vocab, "target {} of row {} is outside the vocabulary of {}", a.targets[row],
          row, a.vocab);
  }
  over_rows(pool, a.rows, 4 * a.vocab,
            [&](int64_t begin, int64_t end) { table.cross_entropy_rows(a, begin, end); });
}

void gather_rows(ThreadPool& pool, const Table& table, GatherRows a) {
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.out_row, a.dim);
  over_rows(pool, a.rows, a.dim, [&](int64_t begin, int64_t end) { table.gather_rows(a, begin, end); });
}

void scatter_add_rows(ThreadPool& pool, const Table& table, ScatterAddRows a) {
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.out_row, a.dim);
  for (int64_t row = 0; row < a.rows; ++row) {
    CHECK(a.index[row] < a.out_rows, "row {} goes to {} of {}", row, a.index[row], a.out_rows);
  }
  // Each thread owns a range of destinations and walks the whole index: additions to a row keep their order.
  const int64_t parts = a.rows * a.dim < kFlatChunk ? 1 : pool.size() * 4;
  pool.parallel_for(a.out_rows, std::max<int64_t>(1, (a.out_rows + parts - 1) / parts),
                    [&](int64_t begin, int64_t end, int) { table.scatter_add_rows(a, begin, end); });
}

void combine_rows(ThreadPool& pool, const Table& table, CombineRows a) {
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.out_row, a.dim);
  over_rows(pool, a.rows, a.k * a.dim,
            [&](int64_t begin, int64_t end) { table.combine_rows(a, begin, end); });
}

void combine_rows_backward(ThreadPool& pool, const Table& table, CombineRowsGrad a) {
  contiguous_unless_set(a.dout_row, a.dim);
  contiguous_unless_set(a.x_row, a.dim);
  contiguous_unless_set(a.dx_row, a.dim);
  CHECK(!a.dweight || a.x, "dweight needs x");
  over_rows(pool, a.rows, a.k * a.dim,
            [&](int64_t begin, int64_t end) { table.combine_rows_backward(a, begin, end); });
}

void gelu_forward(ThreadPool& pool, const Table& table, Gelu form, int64_t n, const float* x, float* y) {
  over_rows(pool, n, 1,
            [&](int64_t begin, int64_t end) { table.gelu_forward(form, end - begin, x + begin, y + begin); });
}

void gelu_backward(ThreadPool& pool, const Table& table, Gelu form, int64_t n, const float* x,
                   const float* dy, float* dx) {
  over_rows(pool, n, 1, [&](int64_t begin, int64_t end) {
    table.gelu_backward(form, end - begin, x + begin, dy + begin, dx + begin);
  });
}

void add(ThreadPool& pool, const Table& table, int64_t n, const float* a, const float* b, float* y) {
  over_rows(pool, n, 1,
            [&](int64_t begin, int64_t end) { table.add(end - begin, a + begin, b + begin, y + begin); });
}

void axpy(ThreadPool& pool, const Table& table, int64_t n, float alpha, const float* x, float* y) {
  over_rows(pool, n, 1,
            [&](int64_t begin, int64_t end) { table.axpy(end - begin, alpha, x + begin, y + begin); });
}

void scale(ThreadPool& pool, const Table& table, int64_t n, float alpha, const float* x, float* y) {
  over_rows(pool, n, 1,
            [&](int64_t begin, int64_t end) { table.scale(end - begin, alpha, x + begin, y + begin); });
}

double sum_of_squares(ThreadPool& pool, const Table& table, int64_t n, const float* x) {
  const int64_t chunks = (n + kFlatChunk - 1) / kFlatChunk;
  if (chunks == 0) return 0;
  auto* partials =
      static_cast<double*>(pool.scratch(pool.this_worker(), sizeof(double) * static_cast<size_t>(chunks)));
  pool.parallel_for(n, kFlatChunk, [&](int64_t begin, int64_t end, int) {
    partials[begin / kFlatChunk] = table.sum_of_squares(end - begin, x + begin);
  });
  double total = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partials[chunk];
  return total;
}

void adamw_update(ThreadPool& pool, const Table& table, const AdamW& args, int64_t n, const float* g,
                  float* p, float* m, float* v) {
  over_rows(pool, n, 1, [&](int64_t begin, int64_t end) {
    table.adamw_update(args, end - begin, g + begin, p + begin, m + begin, v + begin);
  });
}

void f32_to_bf16(ThreadPool& pool, const Table& table, int64_t n, const float* x, uint16_t* y) {
  over_rows(pool, n, 1,
            [&](int64_t begin, int64_t end) { table.f32_to_bf16(end - begin, x + begin, y + begin); });
}

void bf16_to_f32(ThreadPool& pool, const Table& table, int64_t n, const uint16_t* x, float* y) {
  over_rows(pool, n, 1,
            [&](int64_t begin, int64_t end) { table.bf16_to_f32(end - begin, x + begin, y + begin); });
}

}  // namespace frugal::kernels
