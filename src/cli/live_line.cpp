#include "cli/live_line.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "meter/process.h"

namespace frugal::cli {
namespace {

constexpr double kRedraw = 0.2;    // seconds between two drawings of the live line
constexpr double kPlainLine = 10;  // seconds between two plain lines

// What is on one line must not break it.
size_t shown_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

ProgressOptions progress_options(const CommonOptions& common, const Environment& environment) {
  ProgressOptions options;
  options.quiet = common.quiet;
  options.terminal = environment.error_is_terminal;
  winsize size{};
  if (options.terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    options.columns = size.ws_col;
  }
  return options;
}

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

bool LiveLine::due(double seconds) {
  if (options_.quiet) return false;
  if (shown_at_ >= 0 && seconds - shown_at_ < (options_.terminal ? kRedraw : kPlainLine)) return false;
  const bool first = shown_at_ < 0;
  shown_at_ = seconds;
  return options_.terminal || !first;  // the first plain line comes after a while
}

std::function<void(double)> LiveLine::fractions(std::string label) {
  restart();
  return [this, label = std::move(label), start = steady_seconds()](double fraction) {
    if (due(steady_seconds() - start)) show(label, fraction, fmt::format("{:3.0f} %", fraction * 100));
  };
}

void LiveLine::show(std::string_view label, double fraction, const std::string& text) {
  if (options_.quiet) return;
  if (!options_.terminal) return line(fmt::format("{:<10} {}", label, text));
  std::string shown = fmt::format("{:<10} ", label);
  const int room = options_.columns - static_cast<int>(shown_width(shown) + shown_width(text)) - 3;
  if (room >= 8 && fraction >= 0) shown += bar_text(fraction, std::min(room, 28)) + " ";
  shown += text;
  if (static_cast<int>(shown_width(shown)) >= options_.columns)
    shown.resize(static_cast<size_t>(std::max(options_.columns - 1, 1)));
  fmt::print(stderr, "\r\x1b[2K{}", shown);
  std::fflush(stderr);
  drawn_ = true;
}

void LiveLine::line(const std::string& text) {
  if (options_.quiet) return;
  erase();
  fmt::print(stderr, "{}\n", text);
}

void LiveLine::warning(const std::string& text) {
  if (options_.quiet) return;
  erase();
  fmt::print(stderr, "warning: {}\n", text);
}

void LiveLine::erase() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[2K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace frugal::cli
