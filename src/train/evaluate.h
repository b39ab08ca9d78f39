// Validation during and after training: bits per byte over disjoint windows (data/windows.h says what
// counts).
#pragma once

#include <cstdint>

#include "core/context.h"
#include "data/windows.h"
#include "models/model.h"

namespace frugal {

struct Validation {
  double bits_per_byte = 0;
  double loss = 0;  // nats per target
  int64_t targets = 0, bytes = 0;
};

// All windows, `rows` at a time. Leaves the windows rewound. With a cache of at least that many slots, empty
// and of the windows' length, attention reads keys and values as the cache stores them.
Validation validate(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows,
                    Cache* cache = nullptr);

}  // namespace frugal
