#include "pipeline/report/chart.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "meter/units.h"
#include "pipeline/report/html.h"

namespace frugal {
namespace {

constexpr double kWidth = 540, kHeight = 250;
constexpr double kLeft = 50, kRight = 56, kTop = 10, kBottom = 34;
constexpr int64_t kMostPoints = 240;  // of a line: more would not be seen

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  // Of a single value: a little room on both sides.
  void widen() {
    if (high > low) return;
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room;
    high += room;
  }
};

// One drawn point: the mean of a few neighbours and how far they reach.
struct Point {
  double x, y, low, high;
};

std::vector<Point> thinned(const Series& series) {
  std::vector<Point> all;
  for (size_t i = 0; i < std::min(series.x.size(), series.y.size()); ++i) {
    if (std::isfinite(series.x[i]) && std::isfinite(series.y[i])) {
      all.push_back({series.x[i], series.y[i], series.y[i], series.y[i]});
    }
  }
  const auto count = static_cast<int64_t>(all.size());
  if (count <= kMostPoints && !series.band) return all;
  const int64_t buckets = std::min(count, series.band ? kMostPoints / 2 : kMostPoints);
  std::vector<Point> out;
  for (int64_t b = 0; b < buckets; ++b) {
    const int64_t begin = b * count / buckets, end = (b + 1) * count / buckets;
    Point sum{0, 0, all[begin].y, all[begin].y};
    for (int64_t i = begin; i < end; ++i) {
      sum.x += all[i].x;
      sum.y += all[i].y;
      sum.low = std::min(sum.low, all[i].y);
      sum.high = std::max(sum.high, all[i].y);
    }
    const auto n = static_cast<double>(end - begin);
    out.push_back({sum.x / n, sum.y / n, sum.low, sum.high});
  }
  return out;
}

std::string value_label(double value) {
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size >= 1000) {
    std::string text = format_quantity(value, "");
    std::erase(text, ' ');
    return text;
  }
  return size < 1e-4 ? fmt::format("{:.0e}", value) : fmt::format("{:.3g}", value);
}

class Plot {
 public:
  Plot(Range x, Range y) : x_(x), y_(y) {}
  double px(double x) const { return kLeft + (x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight); }
  double py(double y) const {
    return kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
  }
  std::string axes(const std::string& x_unit) const {
    std::string out;
    for (const double tick : round_ticks(y_.low, y_.high, 5)) {
      out += fmt::format(
          R"(<path class="grid" d="M{} {:.1f}H{}"/><text class="tick y" x="{}" y="{:.1f}">{}</text>)", kLeft,
          py(tick), kWidth - kRight, kLeft - 7, py(tick) + 3.5, value_label(tick));
    }
    for (const double tick : round_ticks(x_.low, x_.high, 5)) {
      out += fmt::format(R"(<text class="tick x" x="{:.1f}" y="{}">{}</text>)", px(tick),
                         kHeight - kBottom + 16, value_label(tick));
    }
    out += fmt::format(R"(<path class="axis" d="M{} {}H{}"/><text class="tick x" x="{}" y="{}">{}</text>)",
                       kLeft, kHeight - kBottom, kWidth - kRight, (kLeft + kWidth - kRight) / 2, kHeight - 3,
                       escape(x_unit));
    return out;
  }
  std::string line(const std::vector<Point>& points) const {
    std::string d;
    for (const Point& p : points)
      d += fmt::format("{}{:.1f} {:.1f}", d.empty() ? "M" : "L", px(p.x), py(p.y));
    return d;
  }
  std::string band(const std::vector<Point>& points) const {
    std::string d;
    for (const Point& p : points)
      d += fmt::format("{}{:.1f} {:.1f}", d.empty() ? "M" : "L", px(p.x), py(p.high));
    for (auto p = points.rbegin(); p != points.rend(); ++p)
      d += fmt::format("L{:.1f} {:.1f}", px(p->x), py(p->low));
    return d + "Z";
  }

 private:
  Range x_, y_;
};

std::string draw(const Plot& plot, const Series& series, const std::vector<Point>& points) {
  std::string out;
  if (series.band && points.size() > 1) {
    out += fmt::format(R"(<path class="band c{}" d="{}"/>)", series.colour, plot.band(points));
  }
  out += fmt::format(R"(<path class="line c{}" d="{}"/>)", series.colour, plot.line(points));
  if (series.marks || points.size() == 1) {
    for (const Point& p : points) {
      out += fmt::format(
          R"(<circle class="mark c{}" cx="{:.1f}" cy="{:.1f}" r="2.6"><title>{}: {}</title></circle>)",
          series.colour, plot.px(p.x), plot.py(p.y), escape(series.name), value_label(p.y));
    }
  }
  return out;
}

// The last value of each line, moved apart where two would overlap.
std::string end_labels(const Plot& plot, const std::vector<Series>& series,
                       const std::vector<std::vector<Point>>& points) {
  struct Label {
    double y, x, value;
    int colour;
  };
  std::vector<Label> labels;
  for (size_t i = 0; i < series.size(); ++i) {
    if (points[i].empty()) continue;
    const Point& last = points[i].back();
    labels.push_back({plot.py(last.y), plot.px(last.x), last.y, series[i].colour});
  }
  std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
  for (size_t i = 1; i < labels.size(); ++i) labels[i].y = std::max(labels[i].y, labels[i - 1].y + 13);
  std::string out;
  for (const Label& label : labels) {
    out += fmt::format(R"(<text class="end t{}" x="{:.1f}" y="{:.1f}">{}</text>)", label.colour, label.x + 6,
                       label.y + 4, value_label(label.value));
  }
  return out;
}

std::string caption(const std::string& title, const std::vector<Series>& series) {
  std::string out = "<figcaption>" + escape(title);
  if (series.size() > 1) {
    out += "<span class=\"legend\">";
    for (const Series& s : series)
      out += fmt::format(R"(<i class="key k{}"></i>{} )", s.colour, escape(s.name));
    out += "</span>";
  }
  return out + "</figcaption>";
}

}  // namespace

std::vector<double> round_ticks(double low, double high, int count) {
  if (!(high > low) || !std::isfinite(high - low) || count < 1) return {};
  const double raw = (high - low) / count;
  const double unit = std::pow(10, std::floor(std::log10(raw)));
  const double ratio = raw / unit;
  const double step = unit * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
  std::vector<double> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i)
    ticks.push_back(i * step);
  return ticks;
}

std::string line_chart(const LineChart& chart) {
  Range x, y;
  std::vector<std::vector<Point>> points;
  for (const Series& series : chart.series) {
    points.push_back(thinned(series));
    for (const Point& p : points.back()) {
      x.include(p.x);
      y.include(p.low);
      y.include(p.high);
    }
  }
  std::string out = "<figure>" + caption(chart.title, chart.series);
  if (x.empty()) return out + "<p class=\"note\">Nothing was recorded.</p></figure>\n";
  if (chart.from_zero) y.include(0);
  x.include(0);
  x.widen();
  y.widen();
  const Plot plot(x, y);
  out += fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", kWidth, kHeight,
                     escape(chart.title));
  out += plot.axes(chart.x_unit);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    if (!points[i].empty()) out += draw(plot, chart.series[i], points[i]);
  }
  if (chart.label_last) out += end_labels(plot, chart.series, points);
  return out + "</svg></figure>\n";
}

}  // namespace frugal
