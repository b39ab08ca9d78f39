// Keys and values (or MLA latents) of past tokens, by layer and slot. A slot is one sequence. Rows are
// contiguous, so that attention streams them.
#pragma once

#include <vector>

#include "autograd/ops.h"
#include "nn/batch.h"
#include "tensor/tensor.h"

namespace frugal {

// Widths of one layer's rows. MLA stores [latent, rotated key] in `k` and nothing in `v`. Attention reads
// rows in parts of `part` values (a head), which must be whole blocks of the cache's format.
struct CacheLayer {
  int64_t k_width = 0, v_width = 0;
  int64_t part = 1;
};

class Cache {
 public:
  // Room for `slots` sequences of `capacity` tokens, stored as `format`: f32, bf16 or q8_0. Memory is touched
  // as it fills. UsageError when the format cannot store the layers' rows.
  Cache(const Context& ctx, std::vector<CacheLayer> layers, int slots, int64_t capacity,
        const Format& format);

  int slots() const { return static_cast<int>(lengths_.size()); }
  int64_t capacity() const { return capacity_; }
  const Format& format() const { return *format_; }
  int64_t length(int slot) const { return lengths_.at(static_cast<size_t>(slot)); }
  int64_t bytes() const;

  // Writes the rows of `k` and `v` (v may be empty) for every sequence of the batch behind what its slot
  // holds. All layers append the same rows; the lengths move with advance(). Error when a slot is full.
  void append(Context& ctx, int layer, const Batch& batch, const Tensor& k, const Tensor& v);
  // Keys of a slot as attention needs them, the rows appended by this forward included.
  ops::CachedKeys keys(int layer, int slot, int64_t count) const;
  // The first `count` rows of what `k` holds, as f32 (count, k_width).
  Tensor decoded(Context& ctx, int layer, int slot, int64_t count) const;
  // After a forward: the batch's rows are now part of their slots.
  void advance(const Batch& batch);
  // Forgets everything after the first `length` tokens of the slot.
  void truncate(int slot, int64_t length);

 private:
  struct Store {
    Tensor k, v;  // (slots, capacity, width)
  };
  std::vector<CacheLayer> layers_;
  std::vector<Store> stores_;
  std::vector<int64_t> lengths_;
  int64_t capacity_;
  const Format* format_;
};

}  // namespace frugal
