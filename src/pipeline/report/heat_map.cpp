#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "meter/units.h"
#include "pipeline/report/chart.h"
#include "pipeline/report/html.h"

namespace frugal {
namespace {

constexpr double kWidth = 350, kLeft = 24, kRight = 6;

}  // namespace

int heat_level(double value) {
  static constexpr std::array kBounds = {0.25, 0.5, 0.75, 0.9, 1.1, 1.35, 1.75, 2.5};
  return static_cast<int>(std::upper_bound(kBounds.begin(), kBounds.end(), value) - kBounds.begin());
}

// Cells of one colour are one path; neighbours in a row are one rectangle of it. So a map of thousands of
// cells stays a few kilobytes.
std::string heat_map(const HeatMap& map) {
  CHECK(static_cast<int64_t>(map.values.size()) == map.rows * map.columns);
  std::string out = "<figure><figcaption>" + escape(map.title) + "</figcaption>";
  if (map.values.empty()) return out + "<p class=\"note\">Nothing was recorded.</p></figure>\n";
  const double cell = std::clamp(160.0 / static_cast<double>(map.rows), 1.0, 14.0);
  const double height = cell * static_cast<double>(map.rows);
  const double width = (kWidth - kLeft - kRight) / static_cast<double>(map.columns);
  std::array<std::string, kHeatLevels> paths;
  for (int64_t r = 0; r < map.rows; ++r) {
    for (int64_t c = 0; c < map.columns;) {
      const int level = heat_level(map.values[r * map.columns + c]);
      int64_t end = c + 1;
      while (end < map.columns && heat_level(map.values[r * map.columns + end]) == level) ++end;
      paths[level] +=
          fmt::format("M{:.1f} {:.1f}h{:.2f}v{:.1f}H{:.1f}z", kLeft + static_cast<double>(c) * width,
                      static_cast<double>(r) * cell, static_cast<double>(end - c) * width, cell - 0.6,
                      kLeft + static_cast<double>(c) * width);
      c = end;
    }
  }
  out += fmt::format(R"(<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">)", kWidth, height + 18,
                     escape(map.title));
  for (int level = 0; level < kHeatLevels; ++level) {
    if (!paths[level].empty()) out += fmt::format(R"(<path class="h{}" d="{}"/>)", level, paths[level]);
  }
  out += fmt::format(R"(<text class="tick y" x="{0}" y="{1:.1f}">0</text>)", kLeft - 6, cell / 2 + 3.5);
  if (map.rows > 1) {
    out += fmt::format(R"(<text class="tick y" x="{}" y="{:.1f}">{}</text>)", kLeft - 6,
                       height - cell / 2 + 3.5, map.rows - 1);
  }
  out += fmt::format(
      R"(<text class="tick" x="{}" y="{:.0f}">{}</text><text class="tick y" x="{}" y="{:.0f}">{}</text>)",
      kLeft, height + 14, escape(format_quantity(map.x_begin, map.x_unit)), kWidth - kRight, height + 14,
      escape(format_quantity(map.x_end, map.x_unit)));
  return out + "</svg></figure>\n";
}

}  // namespace frugal
