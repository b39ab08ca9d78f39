// What a user sees of a run in progress.
#include "cli/progress.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace frugal::cli {
namespace {

std::string shown(bool quiet) {
  ProgressOptions options;
  options.quiet = quiet;
  ProgressDisplay display(options);
  testing::internal::CaptureStderr();
  display.stage_begins("pretrain", "training");
  StepRecord step;
  Progress progress{.stage = "pretrain", .step = &step};
  for (int i = 1; i <= 21; ++i) {
    step.step = i;
    step.loss = i == 1 ? 6 : 1;
    step.tokens_per_second = 1000;
    progress.fraction = i / 42.0;
    progress.bill.seconds = i;
    step.spent_seconds = i;
    display.progress(progress);
  }
  display.note("step 21: a note");
  display.warning("the disk is nearly full");
  display.stage_ends("pretrain", "21 steps", {}, false);
  return testing::internal::GetCapturedStderr();
}

TEST(Progress, LinesTellWhereTheRunStands) {
  const std::string text = shown(false);
  // A plain line every ten seconds; the mean follows the loss and forgets where it began.
  EXPECT_EQ(text.find("step 10 "), std::string::npos) << text;
  EXPECT_NE(text.find("step 11 "), std::string::npos) << text;
  EXPECT_NE(text.find("step 21  loss 1.0"), std::string::npos) << text;
  EXPECT_NE(text.find("1 ktok/s"), std::string::npos) << text;
  EXPECT_NE(text.find("21.0 s left"), std::string::npos) << text;
  EXPECT_NE(text.find("warning: the disk is nearly full\n"), std::string::npos) << text;
  EXPECT_EQ(std::ranges::count(text, '\r'), 0);
}

TEST(Progress, QuietIsQuiet) {
  EXPECT_EQ(shown(true), "");
}

TEST(Progress, ABarHasItsWidth) {
  EXPECT_EQ(bar_text(0, 4), "····");
  EXPECT_EQ(bar_text(0.5, 4), "██··");
  EXPECT_EQ(bar_text(1, 4), "████");
  EXPECT_EQ(bar_text(7, 2), "██");
  EXPECT_EQ(bar_text(-1, 2), "··");
}

}  // namespace
}  // namespace frugal::cli
