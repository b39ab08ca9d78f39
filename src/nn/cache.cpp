#include "nn/cache.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace frugal {

static void check_format(const Format& format, const CacheLayer& layer) {
  if (&format != &formats::f32 && &format != &formats::bf16 && &format != &formats::q8_0) {
    fail_usage("keys and values cannot be kept as {}; expected f32, bf16 or q8_0", format.name);
  }
  if (layer.part % format.block != 0) {
    fail_usage(
        "keys and values as {} are stored in blocks of {}, but this model's heads are {} wide; use bf16",
        format.name, format.block, layer.part);
  }
}

Cache::Cache(const Context& ctx, std::vector<CacheLayer> layers, int slots, int64_t capacity,
             const Format& format)
    : layers_(std::move(layers)),
      lengths_(static_cast<size_t>(slots), 0),
      capacity_(capacity),
      format_(&format) {
  CHECK(slots > 0 && capacity > 0);
  for (const CacheLayer& layer : layers_) {
    check_format(format, layer);
    Store store;
    store.k = Tensor::empty(ctx, {slots, capacity, layer.k_width}, format);
    if (layer.v_width > 0) store.v = Tensor::empty(ctx, {slots, capacity, layer.v_width}, format);
    stores_.push_back(std::move(store));
  }
}

int64_t Cache::bytes() const {
  int64_t sum = 0;
  for (const Store& store : stores_) sum += store.k.bytes() + (store.v ? store.v.bytes() : 0);
  return sum;
}

static void append_rows(Context& ctx, Tensor& store, int slot, int64_t at, const Tensor& rows, int64_t begin,
                        int64_t end) {
  const int64_t width = store.cols();
  CHECK(rows.cols() == width, "cache rows are {} wide, got {}", width, rows.cols());
  const Format& format = store.format();
  ops::store_rows(ctx, rows, begin, end, format,
                  store.data() + format.bytes((slot * store.dim(1) + at) * width));
}

void Cache::append(Context& ctx, int layer, const Batch& batch, const Tensor& k, const Tensor& v) {
  Store& store = stores_.at(static_cast<size_t>(layer));
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int slot = batch.slots.at(static_cast<size_t>(s));
    const int64_t begin = batch.offsets[static_cast<size_t>(s)],
                  end = batch.offsets[static_cast<size_t>(s) + 1];
    const int64_t at = length(slot);
    if (at + end - begin > capacity_) {
      fail("the context is full: {} tokens fit, {} are needed; use a larger --context or a shorter prompt",
           capacity_, at + end - begin);
    }
    if (ctx.dry_run()) continue;
    append_rows(ctx, store.k, slot, at, k, begin, end);
    if (store.v) append_rows(ctx, store.v, slot, at, v, begin, end);
  }
}

ops::CachedKeys Cache::keys(int layer, int slot, int64_t keys) const {
  const Store& store = stores_.at(static_cast<size_t>(layer));
  CHECK(keys <= capacity_);
  const auto at = [&](const Tensor& t) {
    return t.data() + format_->bytes(int64_t{slot} * capacity_ * t.cols());
  };
  return {at(store.k), store.v ? at(store.v) : at(store.k), keys};
}

Tensor Cache::decoded(Context& ctx, int layer, int slot, int64_t count) const {
  const int64_t width = layers_.at(static_cast<size_t>(layer)).k_width;
  return ops::load_rows(ctx, static_cast<const std::byte*>(keys(layer, slot, count).k), count, width,
                        *format_);
}

void Cache::advance(const Batch& batch) {
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const auto i = static_cast<size_t>(s);
    lengths_.at(static_cast<size_t>(batch.slots.at(i))) += batch.offsets[i + 1] - batch.offsets[i];
  }
}

void Cache::truncate(int slot, int64_t length) {
  auto& current = lengths_.at(static_cast<size_t>(slot));
  CHECK(length >= 0 && length <= current);
  current = length;
}

}  // namespace frugal
