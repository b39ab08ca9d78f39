// A tensor: a shape, a format, shared storage, and, where gradients flow, a slot for its gradient. Always
// contiguous, last dimension fastest. Copies share storage. A tensor may be declared (shape known, no storage
// yet): that is how a 671 B parameter model is counted without being held.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "tensor/format.h"

namespace frugal {

struct BlockScales;  // tensor/block_scales.h
struct LowRank;      // tensor/low_rank.h

using Shape = std::vector<int64_t>;
int64_t count(const Shape& shape);          // product of the dimensions
std::string to_string(const Shape& shape);  // "(2, 3)"

// The gradient of one tensor, f32, same number of values, allocated on first use. Leaves (parameters) keep
// theirs until zero_grad; others lose it once their producer's backward has run.
struct GradientSlot {
  std::shared_ptr<std::byte> data;
  int64_t values = 0;
  bool leaf = false;
  bool fresh = true;  // nothing was added yet: the first writer overwrites
};

class Tensor {
 public:
  Tensor() = default;
  static Tensor declare(Shape shape, const Format& format = formats::f32);
  static Tensor empty(const Context& ctx, Shape shape, const Format& format = formats::f32);
  static Tensor zeros(const Context& ctx, Shape shape);
  static Tensor from(const Context& ctx, Shape shape, std::span<const float> values);
  // Memory someone else owns (a mapped file); `owner` keeps it alive.
  static Tensor alias(Shape shape, const Format& format, const std::byte* data,
                      std::shared_ptr<const void> owner);

  explicit operator bool() const { return format_ != nullptr; }
  bool allocated() const { return data_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const {
    return shape_.at(static_cast<size_t>(i < 0 ? i + static_cast<int>(shape_.size()) : i));
  }
  int64_t size() const { return count(shape_); }     // values
  int64_t rows() const { return size() / dim(-1); }  // product of all dimensions but the last
  int64_t cols() const { return dim(-1); }
  const Format& format() const { return *format_; }
  bool is_f32() const { return format_ == &formats::f32; }
  int64_t bytes() const { return format_->bytes(size()); }

  float* f32();  // CHECKs the format
  const float* f32() const;
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  std::span<float> values() { return {f32(), static_cast<size_t>(size())}; }
  std::span<const float> values() const { return {f32(), static_cast<size_t>(size())}; }
  Tensor reshaped(Shape shape) const;  // shares storage and gradient
  // Any format, as f32, with the factors of its blocks and with what lies beside it.
  std::vector<float> decoded() const;
  void decode_rows(int64_t begin, int64_t end, float* to) const;  // rows of cols() values

  // A matrix whose stored values count times a factor for each block. Shares storage; null when all count as
  // stored.
  Tensor with_scales(const BlockScales& scales) const;
  const BlockScales* scales() const { return scales_.get(); }

  // A frozen matrix that counts with a trained product beside it (an adapter). Shares storage; null when
  // there is none.
  Tensor with_low_rank(std::shared_ptr<const LowRank> low_rank) const;
  Tensor without_low_rank() const;
  const LowRank* low_rank() const { return low_rank_.get(); }
  // What is stored is all that counts: no factors, no adapter.
  bool as_stored() const { return !scales_ && !low_rank_; }

  // Gradients. A tensor needs one when it has a slot.
  bool needs_gradient() const { return slot_ != nullptr; }
  void require_gradient(bool leaf);
  void freeze() { slot_.reset(); }
  Tensor detached() const;  // shares storage, not the gradient
  // Shape and gradient without the storage: what a closure keeps of a tensor whose values it does not need.
  Tensor gradient_handle() const;
  GradientSlot* slot() const { return slot_.get(); }
  bool has_gradient() const { return slot_ && !slot_->fresh; }
  // The gradient to write into. `accumulate` tells whether to add (someone wrote before) or to overwrite.
  struct GradientTarget {
    float* data;
    bool accumulate;
  };
  GradientTarget gradient_target(const Context& ctx) const;
  // As gradient_target, zero-filled on first use, for kernels that only add.
  float* gradient_sum(const Context& ctx) const;
  const float* gradient() const;  // CHECKs that there is one
  std::span<float> gradient_values() const;
  void zero_gradient() const {
    if (slot_) slot_->fresh = true;
  }
  void drop_gradient() const {
    if (slot_ && !slot_->leaf) *slot_ = GradientSlot{nullptr, slot_->values, false, true};
  }
  void share_gradient_of(const Tensor& other) { slot_ = other.slot_; }

 private:
  void add_low_rank(int64_t begin, int64_t end, float* to) const;

  Shape shape_;
  const Format* format_ = nullptr;
  std::shared_ptr<std::byte> data_;
  std::shared_ptr<GradientSlot> slot_;
  std::shared_ptr<const BlockScales> scales_;
  std::shared_ptr<const LowRank> low_rank_;
};

}  // namespace frugal
