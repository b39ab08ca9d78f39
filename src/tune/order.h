// An endless list of things, all of them in an order that is new every time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace frugal {

class ShuffledOrder {
 public:
  // The order is a function of the seed and the purpose.
  ShuffledOrder(size_t count, uint64_t seed, std::string_view purpose);
  // Thing number `index` of the list.
  size_t at(int64_t index);

 private:
  uint64_t seed_, purpose_;
  int64_t epoch_ = -1;
  std::vector<size_t> order_;
};

}  // namespace frugal
