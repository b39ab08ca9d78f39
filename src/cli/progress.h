// Shows a run while it works: a live line on a terminal, plain lines elsewhere, all on stderr.
#pragma once

#include <string>

#include "cli/live_line.h"
#include "pipeline/observer.h"

namespace frugal::cli {

class ProgressDisplay : public Observer {
 public:
  explicit ProgressDisplay(const ProgressOptions& options) : options_(options), line_(options) {}

  void stage_begins(std::string_view name, std::string_view help) override;
  void stage_ends(std::string_view name, const std::string& summary, const Bill& bill, bool skipped) override;
  void progress(const Progress& progress) override;
  void note(const std::string& text) override;
  void warning(const std::string& text) override;

 private:
  ProgressOptions options_;
  LiveLine line_;
  double tok_s_ = 0, loss_ = 0, mfu_ = 0;  // smoothed: single steps jump
  int64_t steps_ = 0;                      // of this stage, seen so far
};

// "  52 %  step 812  loss 1.23  21.3 ktok/s  MFU 41 %  95 to 310 J  $0.0003  1 min 12 s left", and a bar
// before it where `columns` allows.
std::string progress_text(const Progress& progress, double loss, double tok_s, double mfu);

}  // namespace frugal::cli
