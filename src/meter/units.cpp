#include "meter/units.h"

#include <fmt/core.h>

#include <array>
#include <cmath>

namespace frugal {

std::string format_quantity(double value, std::string_view unit) {
  static constexpr std::array<std::string_view, 8> kPrefixes = {"", "k", "M", "G", "T", "P", "E", "Z"};
  size_t prefix = 0;
  // 999.5 prints as "1e+03" with three digits, so it already takes the next prefix.
  while (std::abs(value) >= 999.5 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  return fmt::format("{:.3g} {}{}", value, kPrefixes[prefix], unit);
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e15) return "?";
  if (seconds < 10) return fmt::format("{:.2f} s", seconds);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  const long long minutes = whole / 60;
  if (minutes < 48 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  return fmt::format("{} d {:02} h", minutes / 1440, minutes / 60 % 24);
}

}  // namespace frugal
