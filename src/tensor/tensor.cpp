#include "tensor/tensor.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "tensor/block_scales.h"

namespace frugal {

int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

std::string to_string(const Shape& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

Tensor Tensor::declare(Shape shape, const Format& format) {
  // Shapes come from configs and files: their products must not overflow, nor the sum of all a model has.
  constexpr int64_t kMostValues = int64_t{1} << 40;
  int64_t values = 1;
  for (const int64_t d : shape) {
    CHECK(d >= 0, "shape {}", to_string(shape));
    if (d > 0 && values > kMostValues / d) {
      fail("a tensor of shape {} has more than the {} values that are supported", to_string(shape),
           kMostValues);
    }
    values *= std::max<int64_t>(d, 1);
  }
  CHECK(!shape.empty() && shape.back() % format.block == 0, "shape {} in blocks of {}", to_string(shape),
        format.block);
  Tensor t;
  t.shape_ = std::move(shape);
  t.format_ = &format;
  return t;
}

Tensor Tensor::empty(const Context& ctx, Shape shape, const Format& format) {
  Tensor t = declare(std::move(shape), format);
  t.data_ = ctx.memory->allocate(static_cast<size_t>(t.bytes()));
  return t;
}

Tensor Tensor::zeros(const Context& ctx, Shape shape) {
  Tensor t = empty(ctx, std::move(shape));
  if (!ctx.dry_run()) std::memset(t.data(), 0, static_cast<size_t>(t.bytes()));
  return t;
}

Tensor Tensor::from(const Context& ctx, Shape shape, std::span<const float> values) {
  Tensor t = empty(ctx, std::move(shape));
  CHECK(static_cast<size_t>(t.size()) == values.size(), "{} values for shape {}", values.size(),
        to_string(t.shape_));
  if (!ctx.dry_run()) std::copy(values.begin(), values.end(), t.f32());
  return t;
}

Tensor Tensor::alias(Shape shape, const Format& format, const std::byte* data,
                     std::shared_ptr<const void> owner) {
  Tensor t = declare(std::move(shape), format);
  // Mapped files are read-only; nothing writes to a tensor that it did not allocate.
  t.data_ = std::shared_ptr<std::byte>(const_cast<std::byte*>(data), [owner](std::byte*) {});
  return t;
}

float* Tensor::f32() {
  CHECK(is_f32() && allocated(), "tensor {} is {}", to_string(shape_), format_ ? format_->name : "nothing");
  return reinterpret_cast<float*>(data_.get());
}

const float* Tensor::f32() const {
  return const_cast<Tensor*>(this)->f32();
}

Tensor Tensor::reshaped(Shape shape) const {
  CHECK(count(shape) == size(), "{} as {}", to_string(shape_), to_string(shape));
  CHECK(as_stored(), "{} has factors or an adapter of a matrix", to_string(shape_));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

std::vector<float> Tensor::decoded() const {
  std::vector<float> out(static_cast<size_t>(size()));
  if (!out.empty()) decode_rows(0, rows(), out.data());
  return out;
}

void Tensor::decode_rows(int64_t begin, int64_t end, float* to) const {
  CHECK(allocated());
  const int64_t width = cols();
  CHECK(begin >= 0 && begin <= end && end <= rows(), "rows {} to {} of {}", begin, end, to_string(shape_));
  if (scales_) {
    decode_scaled_rows(*this, begin, end, to);
  } else {
    format_->decode(data_.get() + format_->bytes(begin * width), to, (end - begin) * width);
  }
  if (low_rank_) add_low_rank(begin, end, to);
}

Tensor Tensor::with_scales(const BlockScales& scales) const {
  const Shape wanted = factor_shape(shape_, scales.rows, scales.cols);
  const bool known = scales.factors.is_f32() || &scales.factors.format() == &formats::f8_e8m0;
  CHECK(known && scales.factors.shape() == wanted, "factors {} for {}, expected {}",
        to_string(scales.factors.shape()), to_string(shape_), to_string(wanted));
  CHECK(scales.row_step == 1 || (scales.row_step > 1 && scales.rows == 1));
  Tensor t = *this;
  t.scales_ = std::make_shared<const BlockScales>(scales);
  return t;
}

void Tensor::require_gradient(bool leaf) {
  slot_ = std::make_shared<GradientSlot>();
  slot_->values = size();
  slot_->leaf = leaf;
}

Tensor Tensor::detached() const {
  Tensor t = *this;
  t.slot_.reset();
  return t;
}

Tensor Tensor::gradient_handle() const {
  Tensor t = *this;
  t.data_.reset();
  return t;
}

Tensor::GradientTarget Tensor::gradient_target(const Context& ctx) const {
  CHECK(slot_ != nullptr, "tensor {} needs no gradient", to_string(shape_));
  if (!slot_->data) slot_->data = ctx.memory->allocate(static_cast<size_t>(slot_->values) * sizeof(float));
  return {reinterpret_cast<float*>(slot_->data.get()), !std::exchange(slot_->fresh, false)};
}

float* Tensor::gradient_sum(const Context& ctx) const {
  const GradientTarget target = gradient_target(ctx);
  if (!target.accumulate && !ctx.dry_run()) {
    std::memset(target.data, 0, static_cast<size_t>(slot_->values) * sizeof(float));
  }
  return target.data;
}

const float* Tensor::gradient() const {
  CHECK(has_gradient(), "tensor {} has no gradient", to_string(shape_));
  return reinterpret_cast<const float*>(slot_->data.get());
}

std::span<float> Tensor::gradient_values() const {
  return {const_cast<float*>(gradient()), static_cast<size_t>(slot_->values)};
}

}  // namespace frugal
