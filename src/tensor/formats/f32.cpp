// IEEE 754 single precision: what everything is computed in unless said otherwise.
#include <cstring>

#include "tensor/format.h"

namespace frugal::formats {

static void copy_out(const std::byte* from, float* to, int64_t values) {
  std::memcpy(to, from, static_cast<size_t>(values) * 4);
}
static void copy_in(const float* from, std::byte* to, int64_t values) {
  std::memcpy(to, from, static_cast<size_t>(values) * 4);
}

extern const Format f32{"f32", "F32", 1, 4, copy_out, copy_in};

}  // namespace frugal::formats
