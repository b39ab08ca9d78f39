// Products with a matrix whose rows lie along the inner dimension: y (rows, out) = x (rows, in) . W (in,
// out).
#include "kernels/impl/weigh.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

template <KvType kType>
static inline void weigh_rows_of(const WeighRows& a, int64_t begin, int64_t end, int64_t ahead) {
  const char* w = static_cast<const char*>(a.w) + begin / kQ8Values * KvRow<kType>::kBlockBytes;
  for (int64_t row = 0; row < a.rows; row += kWeighRows) {
    const int64_t left = a.rows - row;
    const int rows = static_cast<int>(left < kWeighRows ? left : kWeighRows);
    for (int r = 0; r < rows; ++r) {
      float* y = a.y + (row + r) * a.y_row;
      for (int64_t i = begin; i < end; ++i) y[i] = 0;
    }
    weigh<kType>(rows, {.rows = w,
                        .row_bytes = a.w_bytes,
                        .count = a.in,
                        .width = end - begin,
                        .weights = a.x + row * a.x_row,
                        .weights_row = a.x_row,
                        .out = a.y + row * a.y_row + begin,
                        .out_row = a.y_row,
                        .ahead = static_cast<const char*>(a.w) + a.in * a.w_bytes + ahead * begin / a.out,
                        .ahead_bytes = row == 0 ? ahead * (end - begin) / a.out : 0});
  }
}

}  // namespace

void weigh_rows(const WeighRows& a, int64_t begin, int64_t end, int64_t ahead) {
  switch (a.type) {
    case KvType::f32:
      return weigh_rows_of<KvType::f32>(a, begin, end, ahead);
    case KvType::bf16:
      return weigh_rows_of<KvType::bf16>(a, begin, end, ahead);
    case KvType::q8_0:
      return weigh_rows_of<KvType::q8_0>(a, begin, end, ahead);
    case KvType::q4_0:
      return weigh_rows_of<KvType::q4_0>(a, begin, end, ahead);
  }
}

}  // namespace frugal::kernels::KERNEL_TARGET
