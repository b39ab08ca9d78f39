#include "train/budget.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

struct Simulation {
  int64_t steps = 0;
  Spending spent;
  double largest_jump = 0;  // of progress, in shares of the budget
  size_t revisions = 0;
};

// Runs a plan to its end against a machine whose step `i` costs seconds(i); an evaluation of `evaluation`
// seconds every 50 steps and one at the end, first thought to cost `estimate`.
Simulation run(const Budget& budget, const std::function<double(int64_t)>& seconds, double evaluation = 0,
               double estimate = 0) {
  StepPlan plan(budget, 1000);
  if (evaluation > 0) plan.reserve("final evaluation", {estimate});
  Simulation result;
  double before = 0;
  while (!plan.done(result.steps)) {
    const double s = seconds(result.steps);
    const Spending cost{s, 30 * s, s * 1e-5};
    result.spent = result.spent + cost;
    ++result.steps;
    plan.step_done(result.steps, cost, result.spent);
    if (evaluation > 0 && result.steps % 50 == 0 && !plan.done(result.steps)) {
      result.spent.seconds += evaluation;
      plan.periodic("evaluation", {evaluation}, 50);
      plan.reserve("final evaluation", {evaluation});
    }
    const double now = plan.progress(result.steps);
    EXPECT_GE(now, before);
    if (now < 1) result.largest_jump = std::max(result.largest_jump, now - before);
    before = now;
    if (result.steps > 100'000) break;
  }
  EXPECT_DOUBLE_EQ(plan.progress(result.steps), 1);
  result.spent.seconds += evaluation;
  result.revisions = plan.revisions().size();
  return result;
}

TEST(Budget, TokensAreExactSteps) {
  StepPlan plan({.tokens = 10'999}, 1000);
  EXPECT_EQ(plan.remaining(0), 10);
  EXPECT_DOUBLE_EQ(plan.progress(3), 0.3);
  plan.step_done(1, {100}, {100});
  EXPECT_EQ(plan.revisions().size(), 1u);
  EXPECT_FALSE(plan.done(9));
  EXPECT_TRUE(plan.done(10));
}

TEST(Budget, MinutesLandWhateverTheMachineDoes) {
  Rng rng(1);
  const std::vector<std::function<double(int64_t)>> machines = {
      [](int64_t) { return 0.5; },
      [](int64_t i) { return i == 0 ? 3.0 : 0.5; },                     // a cold first step
      [](int64_t i) { return i < 300 ? 0.2 : 0.4; },                    // another job arrives
      [](int64_t i) { return 0.2 + 0.0005 * static_cast<double>(i); },  // ever slower
      [&](int64_t) { return 0.3 * (0.5 + rng.uniform()); },             // noise
      [&](int64_t i) { return i % 40 == 0 ? 2.0 : 0.25; },              // hiccups
  };
  for (size_t i = 0; i < machines.size(); ++i) {
    SCOPED_TRACE(i);
    const Simulation result = run({.minutes = 5}, machines[i]);
    EXPECT_NEAR(result.spent.seconds, 300, 0.03 * 300);
    EXPECT_LT(result.largest_jump, 0.06);
    EXPECT_LT(result.revisions, 120u);
  }
}

TEST(Budget, EvaluationIsPartOfTheMinutes) {
  EXPECT_NEAR(run(
                  {.minutes = 5}, [](int64_t) { return 0.25; }, 8, 1)
                  .spent.seconds,
              300, 9);
  EXPECT_NEAR(run(
                  {.minutes = 5}, [](int64_t) { return 0.25; }, 8, 30)
                  .spent.seconds,
              300, 9);
}

TEST(Budget, JoulesAndDollarsLandAndTheTightestDecides) {
  EXPECT_NEAR(run({.joules = 6000}, [](int64_t) { return 0.5; }).spent.joules, 6000, 60);
  EXPECT_NEAR(run({.dollars = 1e-3}, [](int64_t) { return 0.5; }).spent.dollars, 1e-3, 1e-5);
  EXPECT_NEAR(run({.minutes = 1000, .joules = 6000}, [](int64_t) { return 0.5; }).spent.joules, 6000, 60);
  EXPECT_EQ(run({.minutes = 1000, .tokens = 20'000}, [](int64_t) { return 0.5; }).steps, 20);
}

TEST(Budget, ATinyBudgetStillEnds) {
  EXPECT_LE(run({.minutes = 0.01}, [](int64_t) { return 0.5; }).steps, 2);
}

TEST(Budget, OneSlowStepDoesNotEndARun) {
  StepPlan plan({.minutes = 1}, 1000);
  plan.reserve("final evaluation", {80});  // a guess made from that step
  plan.step_done(1, {10}, {10});
  EXPECT_EQ(plan.remaining(1), -1);
  plan.reserve("final evaluation", {4});
  plan.step_done(2, {0.5}, {10.5});
  EXPECT_EQ(plan.remaining(2), 91);
  StepPlan small({.minutes = 0.1}, 1000);  // there is no room for another
  small.step_done(1, {5}, {5});
  EXPECT_TRUE(small.done(1));
}

TEST(Budget, ResumeFollowsTheLog) {
  StepPlan plan({.minutes = 1}, 1000);
  Spending spent;
  for (int64_t step = 1; step <= 40; ++step) {
    const Spending cost{step < 20 ? 0.2 : 0.3};
    spent = spent + cost;
    plan.step_done(step, cost, spent);
  }
  StepPlan again({.minutes = 1}, 1000);
  again.restore(plan.save(), 40, spent, "state.json");
  ASSERT_GE(plan.revisions().size(), 2u);
  for (int64_t step = 0; step < 300; ++step) EXPECT_EQ(plan.progress(step), again.progress(step));
  // The first step after a restart is slow and changes nothing.
  again.step_done(41, {2.0}, spent + Spending{2.0});
  EXPECT_EQ(plan.revisions().size(), again.revisions().size());

  StepPlan replay({.minutes = 1}, 1000);
  replay.follow(plan.revisions());
  for (int64_t step = 1; step <= 40; ++step) {
    replay.step_done(step, {9.0}, {9.0 * static_cast<double>(step)});
    EXPECT_EQ(plan.progress(step), replay.progress(step));
  }
}

TEST(Budget, AChangedBudgetIsPlannedAnew) {
  const StepPlan plan({.tokens = 10'000}, 1000);
  StepPlan longer({.tokens = 40'000}, 1000);
  longer.restore(plan.save(), 10, {}, "state.json");
  EXPECT_FALSE(longer.done(10));
  EXPECT_DOUBLE_EQ(longer.progress(10), 0.25);
  EXPECT_TRUE(longer.done(40));
  StepPlan shorter({.tokens = 5'000}, 1000);
  shorter.restore(plan.save(), 10, {}, "state.json");
  EXPECT_TRUE(shorter.done(10));
}

TEST(Budget, BadBudgetsAndDamagedPlansAreErrors) {
  EXPECT_THROW(StepPlan({}, 10), UsageError);
  EXPECT_THROW(StepPlan({.minutes = -1}, 10), UsageError);
  EXPECT_THROW(StepPlan({.joules = 1.0 / 0.0}, 10), UsageError);
  EXPECT_THROW(StepPlan({.tokens = 9}, 10), UsageError);
  StepPlan plan({.tokens = 100}, 10);
  EXPECT_THROW(plan.restore(Json::object(), 0, {}, "state.json"), Error);
  Json state = plan.save();
  state["revisions"][0]["step"] = "x";
  EXPECT_THROW(plan.restore(state, 0, {}, "state.json"), Error);
}

}  // namespace
}  // namespace frugal
