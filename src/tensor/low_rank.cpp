#include "tensor/low_rank.h"

#include <cmath>

#include "core/error.h"

namespace frugal {
namespace {

// scale B A for rows [begin, end) of the matrix, added to `to`.
void add_product(const LowRank& l, int64_t begin, int64_t end, float* to) {
  const int64_t rank = l.rank(), in = l.in(), width = l.transposed ? l.out() : in;
  const float* a = l.a.f32();
  const float* b = l.b.f32();
  for (int64_t r = begin; r < end; ++r, to += width) {
    for (int64_t k = 0; k < rank; ++k) {
      if (l.transposed) {
        const float factor = l.scale * a[k * in + r];
        for (int64_t o = 0; o < width; ++o) to[o] += factor * b[o * rank + k];
      } else {
        const float factor = l.scale * b[r * rank + k];
        for (int64_t i = 0; i < width; ++i) to[i] += factor * a[k * in + i];
      }
    }
  }
}

// magnitude / norm of every output of a transposed matrix, which needs all of it.
std::vector<double> transposed_gains(const Tensor& matrix) {
  const LowRank& l = *matrix.low_rank();
  const Tensor base = matrix.without_low_rank();
  std::vector<double> gains(static_cast<size_t>(l.out()), 0.0);
  std::vector<float> row(static_cast<size_t>(base.cols()));
  for (int64_t r = 0; r < base.rows(); ++r) {
    base.decode_rows(r, r + 1, row.data());
    add_product(l, r, r + 1, row.data());
    for (size_t o = 0; o < row.size(); ++o)
      gains[o] += static_cast<double>(row[o]) * static_cast<double>(row[o]);
  }
  for (size_t o = 0; o < gains.size(); ++o)
    gains[o] = static_cast<double>(l.magnitude.f32()[o]) / std::sqrt(gains[o]);
  return gains;
}

}  // namespace

Tensor output_squares(const Context& ctx, const Tensor& matrix, bool transposed) {
  const Tensor base = matrix.without_low_rank();
  Tensor out = Tensor::zeros(ctx, {transposed ? base.cols() : base.rows()});
  if (ctx.dry_run()) return out;
  std::vector<double> sums(static_cast<size_t>(out.size()), 0.0);
  std::vector<float> row(static_cast<size_t>(base.cols()));
  for (int64_t r = 0; r < base.rows(); ++r) {
    base.decode_rows(r, r + 1, row.data());
    for (size_t c = 0; c < row.size(); ++c) {
      sums[transposed ? c : static_cast<size_t>(r)] +=
          static_cast<double>(row[c]) * static_cast<double>(row[c]);
    }
  }
  for (size_t o = 0; o < sums.size(); ++o) out.f32()[o] = static_cast<float>(sums[o]);
  return out;
}

Tensor Tensor::with_low_rank(std::shared_ptr<const LowRank> low_rank) const {
  CHECK(shape_.size() == 2 && low_rank != nullptr);
  const LowRank& l = *low_rank;
  const int64_t in = l.transposed ? dim(0) : dim(1), out = l.transposed ? dim(1) : dim(0);
  CHECK(l.in() == in && l.out() == out && l.b.cols() == l.rank(), "A {} and B {} beside {}",
        to_string(l.a.shape()), to_string(l.b.shape()), to_string(shape_));
  CHECK(!l.magnitude || (l.magnitude.size() == out && l.base_squares.size() == out));
  Tensor t = *this;
  t.low_rank_ = std::move(low_rank);
  return t;
}

Tensor Tensor::without_low_rank() const {
  Tensor t = *this;
  t.low_rank_.reset();
  return t;
}

void Tensor::add_low_rank(int64_t begin, int64_t end, float* to) const {
  add_product(*low_rank_, begin, end, to);
  if (!low_rank_->magnitude) return;
  const LowRank& l = *low_rank_;
  const std::vector<double> gains = l.transposed ? transposed_gains(*this) : std::vector<double>();
  const int64_t width = cols();
  for (int64_t r = begin; r < end; ++r, to += width) {
    double gain = 0;
    if (!l.transposed) {
      double squares = 0;
      for (int64_t c = 0; c < width; ++c) squares += static_cast<double>(to[c]) * static_cast<double>(to[c]);
      gain = static_cast<double>(l.magnitude.f32()[r]) / std::sqrt(squares);
    }
    for (int64_t c = 0; c < width; ++c) {
      to[c] = static_cast<float>(static_cast<double>(to[c]) *
                                 (l.transposed ? gains[static_cast<size_t>(c)] : gain));
    }
  }
}

}  // namespace frugal
