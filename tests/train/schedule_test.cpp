#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace frugal {
namespace {

TEST(Schedule, NeverLeavesZeroToOneAndEndsWhereItSays) {
  for (const Schedule& schedule : all_schedules()) {
    SCOPED_TRACE(schedule.name);
    ScheduleOptions options{.name = std::string(schedule.name), .warmup_steps = 0};
    double before = 1;
    for (int i = 0; i <= 1000; ++i) {
      const double factor = learning_rate_factor(options, i, i / 1000.0);
      EXPECT_GE(factor, 0);
      EXPECT_LE(factor, before + 1e-12);  // none of them rises after the warm-up
      before = factor;
    }
    EXPECT_DOUBLE_EQ(learning_rate_factor(options, 0, 0), 1);
    EXPECT_NEAR(before, schedule.default_final, 1e-12);
    options.final_fraction = 0.03;
    const double end = schedule.name == "constant" ? 1 : 0.03;
    EXPECT_NEAR(learning_rate_factor(options, 1000, 1), end, 1e-12);
  }
}

TEST(Schedule, WsdIsConstantThenOneMinusSquareRoot) {
  const ScheduleOptions options{.name = "wsd", .warmup_steps = 0, .cooldown = 0.2};
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 0, 0.79), 1);
  EXPECT_NEAR(learning_rate_factor(options, 0, 0.85), 1 - std::sqrt(0.25), 1e-12);
  EXPECT_NEAR(learning_rate_factor(options, 0, 0.95), 1 - std::sqrt(0.75), 1e-12);
}

TEST(Schedule, V3FollowsTheReport) {
  const ScheduleOptions options{.name = "v3", .warmup_steps = 2000};
  const int64_t late = 100'000;
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, late, 9.9 / 14.8), 1);
  EXPECT_NEAR(learning_rate_factor(options, late, 12.15 / 14.8), 0.55, 1e-9);  // halfway down the cosine
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, late, 14.5 / 14.8), 0.1);
  EXPECT_NEAR(2.2e-4 * learning_rate_factor(options, late, 14.7 / 14.8), 7.3e-6, 1e-12);
}

TEST(Schedule, WarmupCountsStepsButEndsAtATenth) {
  const ScheduleOptions options{.name = "constant", .warmup_steps = 100};
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 0, 0), 0.01);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 49, 0.001), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 99, 0.001), 1);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 5, 0.05), 0.5);  // a short run
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 10, 0.1), 1);
}

TEST(Schedule, BadOptionsAreNamed) {
  EXPECT_THROW(check(ScheduleOptions{.name = "wds"}), UsageError);
  EXPECT_THROW(check(ScheduleOptions{.warmup_steps = -1}), UsageError);
  EXPECT_THROW(check(ScheduleOptions{.cooldown = 1.5}), UsageError);
  EXPECT_THROW(check(ScheduleOptions{.cooldown = std::nan("")}), UsageError);
  EXPECT_THROW(check(ScheduleOptions{.final_fraction = -0.1}), UsageError);
  EXPECT_NO_THROW(check(ScheduleOptions{}));
}

}  // namespace
}  // namespace frugal
