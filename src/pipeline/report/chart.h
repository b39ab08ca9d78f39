// Charts as SVG, without scripts: lines over a common x axis, and heat maps. Colours are classes (c0 to c5,
// h0 to h8) that the page's style fills in, so that a chart follows the reader's light or dark setting.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace frugal {

struct Series {
  std::string name;
  std::vector<double> x, y;
  int colour = 0;
  bool band = false;   // many noisy points: drawn as their mean within the range of neighbours
  bool marks = false;  // few points: each is shown
};

struct LineChart {
  std::string title;
  std::string x_unit = "tokens";
  std::vector<Series> series;
  bool from_zero = false;  // the y axis begins at zero
  bool label_last = true;  // write the last value beside the end of each line
};
// Values that are not finite are left out. A chart without any says so.
std::string line_chart(const LineChart& chart);

// rows x columns cells, row after row; a cell's colour is its value against 1: below, near, above.
struct HeatMap {
  std::string title;
  std::string row_name;  // "expert"
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  double x_begin = 0, x_end = 0;
  std::string x_unit = "tokens";
};
std::string heat_map(const HeatMap& map);
// Class of a value's colour: 4 means 0.9 to 1.1, 0 below a quarter or so, 8 more than two and a half.
int heat_level(double value);
inline constexpr int kHeatLevels = 9;

// About `count` round values that cover [low, high].
std::vector<double> round_ticks(double low, double high, int count);

}  // namespace frugal
