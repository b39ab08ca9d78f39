#include "tune/order.h"

#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {

ShuffledOrder::ShuffledOrder(size_t count, uint64_t seed, std::string_view purpose)
    : seed_(seed), purpose_(hash64(purpose)), order_(count) {}

size_t ShuffledOrder::at(int64_t index) {
  const auto size = std::ssize(order_);
  CHECK(size > 0 && index >= 0);
  if (index / size != epoch_) {
    epoch_ = index / size;
    std::iota(order_.begin(), order_.end(), size_t{0});
    Rng rng(seed_, purpose_, static_cast<uint64_t>(epoch_) << 32);
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.below(i)]);
  }
  return order_[static_cast<size_t>(index % size)];
}

}  // namespace frugal
