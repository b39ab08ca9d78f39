// IEEE 754 half precision, converted in software (half.h).
#include "tensor/format.h"
#include "tensor/formats/half.h"

namespace frugal::formats {

static void decode(const std::byte* from, float* to, int64_t values) {
  for (int64_t i = 0; i < values; ++i) to[i] = load_half(from + 2 * i);
}

static void encode(const float* from, std::byte* to, int64_t values, const float*) {
  for (int64_t i = 0; i < values; ++i) store_half(to + 2 * i, from[i]);
}

extern const Format f16{.name = "f16",
                        .safetensors = "F16",
                        .ggml = 1,
                        .block_bytes = 2,
                        .decode = decode,
                        .encode_weighted = encode};

}  // namespace frugal::formats
