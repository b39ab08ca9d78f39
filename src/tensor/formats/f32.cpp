// IEEE 754 single precision: what everything is computed in unless said otherwise.
#include <cstring>

#include "tensor/format.h"

namespace frugal::formats {

static void copy_out(const std::byte* from, float* to, int64_t values) {
  std::memcpy(to, from, static_cast<size_t>(values) * 4);
}
static void copy_in(const float* from, std::byte* to, int64_t values, const float*) {
  std::memcpy(to, from, static_cast<size_t>(values) * 4);
}

extern const Format f32{.name = "f32",
                        .safetensors = "F32",
                        .ggml = 0,
                        .block_bytes = 4,
                        .decode = copy_out,
                        .encode_weighted = copy_in};

}  // namespace frugal::formats
