#include "cli/progress.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "meter/units.h"

namespace frugal::cli {
namespace {

constexpr double kRedraw = 0.2;      // seconds between two drawings of the live line
constexpr double kPlainLine = 10;    // seconds between two plain lines
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

// What is on one line must not break it.
size_t shown_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

std::string bar_text(double fraction, int width) {
  static constexpr std::array<const char*, 8> kParts = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * width * 8);
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kParts[eighths % 8];
  const int used = eighths / 8 + (eighths % 8 > 0 ? 1 : 0);
  for (int i = used; i < width; ++i) bar += "·";
  return bar;
}

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

ProgressDisplay::~ProgressDisplay() {
  erase();
}

void ProgressDisplay::stage_begins(std::string_view name, std::string_view help) {
  shown_at_ = -1;
  loss_ = tok_s_ = mfu_ = 0;
  steps_ = 0;
  if (!options_.terminal) line(fmt::format("{:<10} {} ...", name, help));
}

void ProgressDisplay::stage_ends(std::string_view name, const std::string& summary, const Bill& bill,
                                 bool skipped) {
  line(fmt::format("{:<10} {}{}", name, summary,
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
  const double now = progress.bill.seconds;
  if (shown_at_ >= 0 && now - shown_at_ < (options_.terminal ? kRedraw : kPlainLine)) return;
  if (!options_.terminal && shown_at_ < 0) {  // the first plain line comes after a while
    shown_at_ = now;
    return;
  }
  shown_at_ = now;
  const std::string text = progress_text(progress, loss_, tok_s_, mfu_);
  if (!options_.terminal) {
    line(fmt::format("{:<10} {}", progress.stage, text));
    return;
  }
  std::string shown = fmt::format("{:<10} ", progress.stage);
  const int room = options_.columns - static_cast<int>(shown_width(shown) + shown_width(text)) - 3;
  if (room >= 8) shown += bar_text(progress.fraction, std::min(room, 28)) + " ";
  shown += text;
  if (static_cast<int>(shown_width(shown)) >= options_.columns)
    shown.resize(std::max(options_.columns - 1, 1));
  fmt::print(stderr, "\r\x1b[2K{}", shown);
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressDisplay::note(const std::string& text) {
  line("           " + text);
}

void ProgressDisplay::warning(const std::string& text) {
  if (options_.quiet) return;
  erase();
  fmt::print(stderr, "warning: {}\n", text);
}

void ProgressDisplay::line(const std::string& text) {
  if (options_.quiet) return;
  erase();
  fmt::print(stderr, "{}\n", text);
}

void ProgressDisplay::erase() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[2K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace frugal::cli
