#include "cli/progress.h"

#include <fmt/core.h>

#include <algorithm>

#include "meter/units.h"

namespace frugal::cli {
namespace {

constexpr double kSmoothing = 0.05;  // weight of the newest step, at least

// The first steps weigh more, or a mean would show for long what was true in the beginning.
double weight_of_step(int64_t seen) {
  return std::max(kSmoothing, 2.0 / static_cast<double>(seen + 1));
}
void smooth(double& mean, double value, double weight) {
  mean += weight * (value - mean);
}

std::string energy(const Joules& joules) {
  if (joules.low == joules.high) return format_quantity(joules.low, "J");
  return fmt::format("{} to {}", format_quantity(joules.low, "J"), format_quantity(joules.high, "J"));
}

}  // namespace

std::string progress_text(const Progress& progress, double loss, double tok_s, double mfu) {
  std::string text = fmt::format("{:3.0f} %", progress.fraction * 100);
  if (const StepRecord* step = progress.step) {
    text += fmt::format("  step {}  loss {:.3f}  {}", step->step, loss, format_quantity(tok_s, "tok/s"));
    if (mfu > 0) text += fmt::format("  MFU {:.0f} %", mfu * 100);
  }
  text += fmt::format("  {}  ${:.5f}", energy(progress.bill.joules), progress.bill.dollars);
  const double spent = progress.step != nullptr ? progress.step->spent_seconds : progress.bill.seconds;
  if (progress.fraction > 0 && progress.fraction <= 1) {
    text += "  " + format_duration(spent * (1 - progress.fraction) / progress.fraction) + " left";
  }
  return text;
}

void ProgressDisplay::stage_begins(std::string_view name, std::string_view help) {
  line_.restart();
  loss_ = tok_s_ = mfu_ = 0;
  steps_ = 0;
  if (!options_.terminal) line_.line(fmt::format("{:<10} {} ...", name, help));
}

void ProgressDisplay::stage_ends(std::string_view name, const std::string& summary, const Bill& bill,
                                 bool skipped) {
  line_.line(fmt::format("{:<10} {}{}", name, summary,
                         skipped ? "  (done before)" : "  (" + format_duration(bill.seconds) + ")"));
}

void ProgressDisplay::progress(const Progress& progress) {
  if (options_.quiet) return;
  if (const StepRecord* step = progress.step) {
    const double weight = weight_of_step(++steps_);
    smooth(loss_, step->loss, weight);
    smooth(tok_s_, step->tokens_per_second, weight);
    smooth(mfu_, step->mfu, weight);
  }
  if (!line_.due(progress.bill.seconds)) return;
  line_.show(progress.stage, progress.fraction, progress_text(progress, loss_, tok_s_, mfu_));
}

void ProgressDisplay::note(const std::string& text) {
  line_.line("           " + text);
}

void ProgressDisplay::warning(const std::string& text) {
  line_.warning(text);
}

}  // namespace frugal::cli
