// Counts what the program holds in memory from operator new, which this folder replaces.
#pragma once

#include <cstddef>

namespace frugal::fuzz {

void reset_peak();    // the most held from now on
size_t peak_bytes();  // above what was held at the reset

}  // namespace frugal::fuzz
