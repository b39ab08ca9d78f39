// Learning-rate schedules: pure functions of progress through the budget, in [0, 1], times a linear warm-up
// counted in steps. Because they know progress and not a number of steps, a budget in minutes or joules can
// move its end.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/fields.h"

namespace frugal {

struct ScheduleOptions {
  std::string name = "wsd";
  int64_t warmup_steps = 100;
  double cooldown = 0.2;
  std::optional<double> final_fraction;

  void visit(FieldVisitor& v);
};

struct Schedule {
  std::string_view name, help;
  double default_final;  // where it ends, as a share of the peak, when the recipe does not say
  // Share of the peak learning rate at `progress`; `final_fraction` is set.
  double (*factor)(double progress, const ScheduleOptions& options);
};

std::span<const Schedule> all_schedules();
// UsageError that lists the known names.
const Schedule& find_schedule(std::string_view name);
// UsageError when a value is out of its range.
void check(const ScheduleOptions& options);

// Share of the peak learning rate for the update that follows `step` finished ones. The warm-up ends after
// warmup_steps or at a tenth of the budget, whichever comes first, so that short runs reach their peak.
double learning_rate_factor(const ScheduleOptions& options, int64_t step, double progress);

}  // namespace frugal
