// Quantities as people read them.
#pragma once

#include <string>
#include <string_view>

namespace frugal {

// Three significant digits with an SI prefix: (1.234e9, "FLOP") -> "1.23 GFLOP"; below 1 plain: "0.00123 g".
std::string format_quantity(double value, std::string_view unit);
// "0.42 s", "12.3 s", "3 min 12 s", "2 h 05 min", "3 d 04 h".
std::string format_duration(double seconds);

}  // namespace frugal
