// Products for inference, on weights as they lie in memory. Part of matmul.h.
#pragma once

#include "autograd/ops/matmul.h"

namespace frugal::ops {

// f32 and bf16: kernels read such rows as they are.
bool is_read_as_stored(const Tensor& weight);
void multiply_streaming(const Context& ctx, std::span<const Product> products);

}  // namespace frugal::ops
