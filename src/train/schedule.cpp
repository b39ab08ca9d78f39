#include "train/schedule.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/error.h"

namespace frugal {
namespace {

constexpr double kLongestWarmup = 0.1;  // of the budget

double between(double from, double to, double share) {
  return from + (to - from) * std::clamp(share, 0.0, 1.0);
}

double constant(double, const ScheduleOptions&) {
  return 1;
}

// Warm-up, stable, decay. The shape of the decay, 1 - sqrt, is the best of those compared by Hägele et al.
// 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations".
double wsd(double progress, const ScheduleOptions& options) {
  const double start = 1 - options.cooldown;
  if (progress <= start || options.cooldown == 0) return 1;
  return between(1, *options.final_fraction, std::sqrt((progress - start) / options.cooldown));
}

double cosine(double progress, const ScheduleOptions& options) {
  return between(*options.final_fraction, 1, (1 + std::cos(std::numbers::pi * progress)) / 2);
}

double linear(double progress, const ScheduleOptions& options) {
  return between(1, *options.final_fraction, progress);
}

// DeepSeek-V3 report §4.2, of 14.8 T tokens: constant to 10 T, a cosine over 4.3 T to a tenth, constant for
// 333 B, then 7.3e-6 of 2.2e-4 for the last 167 B.
double v3(double progress, const ScheduleOptions& options) {
  constexpr double kTotal = 14.8, kConstant = 10 / kTotal, kCosine = 14.3 / kTotal, kTenth = 14.633 / kTotal;
  constexpr double kMiddle = 0.1;
  if (progress <= kConstant) return 1;
  if (progress > kTenth) return *options.final_fraction;
  if (progress > kCosine) return kMiddle;
  const double share = (progress - kConstant) / (kCosine - kConstant);
  return between(kMiddle, 1, (1 + std::cos(std::numbers::pi * share)) / 2);
}

constexpr Schedule kSchedules[] = {
    {"wsd", "constant, then a cooldown by 1 - sqrt over the last `cooldown` of the budget", 0, wsd},
    {"cosine", "half a cosine over the whole budget", 0.1, cosine},
    {"linear", "a straight line over the whole budget", 0, linear},
    {"v3", "DeepSeek-V3's: constant to 68 %, cosine to a tenth at 97 %, two constant steps", 7.3e-6 / 2.2e-4,
     v3},
    {"constant", "the peak throughout", 1, constant},
};

std::vector<std::string_view> names() {
  std::vector<std::string_view> list;
  for (const Schedule& schedule : kSchedules) list.push_back(schedule.name);
  return list;
}

}  // namespace

void ScheduleOptions::visit(FieldVisitor& v) {
  v.field("name", name, "learning-rate schedule: wsd, cosine, linear, v3 or constant");
  v.field("warmup_steps", warmup_steps,
          "steps of linear warm-up; it ends at a tenth of the budget at the latest");
  v.field("cooldown", cooldown, "wsd: share of the budget in which the learning rate falls");
  v.field("final_fraction", final_fraction, "learning rate at the end, as a share of the peak");
}

std::span<const Schedule> all_schedules() {
  return kSchedules;
}

const Schedule& find_schedule(std::string_view name) {
  for (const Schedule& schedule : kSchedules) {
    if (schedule.name == name) return schedule;
  }
  fail_usage("train.schedule.name = '{}': expected one of {}", name, fmt::join(names(), ", "));
}

void check(const ScheduleOptions& options) {
  find_schedule(options.name);
  if (options.warmup_steps < 0)
    fail_usage("train.schedule.warmup_steps = {}: expected 0 or more", options.warmup_steps);
  if (!(options.cooldown >= 0 && options.cooldown <= 1)) {
    fail_usage("train.schedule.cooldown = {}: expected a share between 0 and 1", options.cooldown);
  }
  if (options.final_fraction && !(*options.final_fraction >= 0 && *options.final_fraction <= 1)) {
    fail_usage("train.schedule.final_fraction = {}: expected a share between 0 and 1",
               *options.final_fraction);
  }
}

double learning_rate_factor(const ScheduleOptions& options, int64_t step, double progress) {
  const Schedule& schedule = find_schedule(options.name);
  ScheduleOptions complete = options;
  if (!complete.final_fraction) complete.final_fraction = schedule.default_final;
  const double at = std::clamp(progress, 0.0, 1.0);
  double warmup = 1;
  if (options.warmup_steps > 0) {
    const double by_step = static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
    warmup = std::min(1.0, std::max(by_step, at / kLongestWarmup));
  }
  return warmup * schedule.factor(at, complete);
}

}  // namespace frugal
