// What shows work that takes a while: on a terminal one line that is drawn again and again, elsewhere a plain
// line now and then, all on stderr.
#pragma once

#include <functional>
#include <string>

#include "cli/cli.h"

namespace frugal::cli {

struct ProgressOptions {
  bool quiet = false;
  bool terminal = false;  // stderr is one
  int columns = 80;
};
ProgressOptions progress_options(const CommonOptions& common, const Environment& environment);

class LiveLine {
 public:
  explicit LiveLine(const ProgressOptions& options) : options_(options) {}
  ~LiveLine() { erase(); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  // Starts a new thing: the next due() waits as for the first.
  void restart() { shown_at_ = -1; }
  // Whether it is time to show() again, at `seconds` of any clock that begins near 0. Says so only once.
  bool due(double seconds);
  // "label      ████▌···· text"; a negative fraction (not known) draws no bar.
  void show(std::string_view label, double fraction, const std::string& text);
  // Starts a new thing and gives what shows how far it is, to be called with 0 to 1; it lives as long as
  // this.
  std::function<void(double fraction)> fractions(std::string label);
  // A line that stays.
  void line(const std::string& text);
  void warning(const std::string& text);

 private:
  void erase();
  ProgressOptions options_;
  double shown_at_ = -1;  // when the line was last drawn
  bool drawn_ = false;    // a live line stands on the terminal
};

std::string bar_text(double fraction, int width);

}  // namespace frugal::cli
