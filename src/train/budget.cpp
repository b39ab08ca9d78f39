#include "train/budget.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace frugal {
namespace {

constexpr size_t kWindow = 64;       // steps whose mean cost is the estimate
constexpr double kTolerance = 0.01;  // of the budget: a plan that would miss by more is revised
constexpr double kFirstStep =
    0.05;  // of the budget: the slow first step counts as a measurement only above this
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

struct Limit {
  double total, spent, reserved, per_step;
};

// The measured limits of a budget, in their own units.
std::vector<Limit> limits(const Budget& budget, const Spending& spent, const Spending& reserved,
                          const Spending& step) {
  std::vector<Limit> list;
  if (budget.minutes > 0)
    list.push_back({budget.minutes * 60, spent.seconds, reserved.seconds, step.seconds});
  if (budget.joules > 0) list.push_back({budget.joules, spent.joules, reserved.joules, step.joules});
  if (budget.dollars > 0) list.push_back({budget.dollars, spent.dollars, reserved.dollars, step.dollars});
  return list;
}

}  // namespace

void Budget::visit(FieldVisitor& v) {
  v.field("minutes", minutes, "wall-clock minutes, evaluation and checkpoints included");
  v.field("tokens", tokens, "tokens to train on");
  v.field("joules", joules, "energy");
  v.field("dollars", dollars, "cost of machine and energy");
  v.field("steps", steps, "optimizer steps");
}

void check(const Budget& budget) {
  const auto number = [](const char* name, double value) {
    if (!std::isfinite(value) || value < 0)
      fail_usage("budget.{} = {}: expected a positive number", name, value);
  };
  number("minutes", budget.minutes);
  number("joules", budget.joules);
  number("dollars", budget.dollars);
  number("tokens", static_cast<double>(budget.tokens));
  number("steps", static_cast<double>(budget.steps));
  if (!budget.measured() && budget.tokens == 0 && budget.steps == 0) {
    fail_usage(
        "budget: set one of budget.minutes, budget.tokens, budget.joules, budget.dollars, budget.steps");
  }
}

std::string to_string(const Budget& budget) {
  std::vector<std::string> parts;
  if (budget.minutes > 0) parts.push_back(fmt::format("{:g} minutes", budget.minutes));
  if (budget.tokens > 0) parts.push_back(fmt::format("{} tokens", budget.tokens));
  if (budget.joules > 0) parts.push_back(fmt::format("{:g} joules", budget.joules));
  if (budget.dollars > 0) parts.push_back(fmt::format("{:g} dollars", budget.dollars));
  if (budget.steps > 0) parts.push_back(fmt::format("{} steps", budget.steps));
  return fmt::format("{}", fmt::join(parts, " and "));
}

Spending Spending::operator+(const Spending& other) const {
  return {seconds + other.seconds, joules + other.joules, dollars + other.dollars};
}
Spending Spending::operator-(const Spending& other) const {
  return *this + other * -1;
}
Spending Spending::operator*(double factor) const {
  return {seconds * factor, joules * factor, dollars * factor};
}

void Spending::visit(FieldVisitor& v) {
  v.field("seconds", seconds, "wall-clock seconds");
  v.field("joules", joules, "energy");
  v.field("dollars", dollars, "cost");
}

void PlanRevision::visit(FieldVisitor& v) {
  v.field("step", step, "finished steps when the plan was made");
  v.field("progress", progress, "share of the budget used by then");
  v.field("remaining", remaining, "steps from there to the end");
  v.field("spent", spent, "what was spent by then");
  v.field("reason", reason, "why the plan was revised");
}

StepPlan::StepPlan(const Budget& budget, int64_t tokens_per_step)
    : budget_(budget), tokens_per_step_(tokens_per_step) {
  CHECK(tokens_per_step > 0);
  check(budget);
  if (budget.tokens > 0 && budget.tokens < tokens_per_step) {
    fail_usage("budget.tokens = {} is less than one step of {} tokens; raise it, or lower batch or context",
               budget.tokens, tokens_per_step);
  }
  if (!budget.measured()) revise(0, exact_steps(), {}, "exact budget");
}

int64_t StepPlan::exact_steps() const {
  int64_t steps = kNoLimit;
  if (budget_.tokens > 0) steps = std::min(steps, budget_.tokens / tokens_per_step_);
  if (budget_.steps > 0) steps = std::min(steps, budget_.steps);
  return steps;
}

const PlanRevision* StepPlan::in_force(int64_t step) const {
  const PlanRevision* found = nullptr;
  for (const PlanRevision& revision : revisions_) {
    if (revision.step <= step) found = &revision;
  }
  return found;
}

double StepPlan::progress(int64_t step) const {
  const PlanRevision* plan = in_force(step);
  if (plan == nullptr) return 0;
  if (step >= plan->step + plan->remaining) return 1;
  const double share = static_cast<double>(step - plan->step) / static_cast<double>(plan->remaining);
  return plan->progress + (1 - plan->progress) * share;
}

int64_t StepPlan::remaining(int64_t step) const {
  const PlanRevision* plan = in_force(step);
  return plan == nullptr ? -1 : std::max<int64_t>(0, plan->step + plan->remaining - step);
}

StepPlan::Overhead& StepPlan::overhead(const std::string& kind) {
  for (auto& [name, item] : overheads_) {
    if (name == kind) return item;
  }
  return overheads_.emplace_back(kind, Overhead{}).second;
}

void StepPlan::periodic(const std::string& kind, const Spending& cost, int64_t every) {
  CHECK(every > 0);
  Overhead& item = overhead(kind);
  item.every = every;
  item.measured = std::min<int64_t>(item.measured + 1, 4);  // later ones count a quarter: costs may drift
  item.cost = item.cost + (cost - item.cost) * (1.0 / static_cast<double>(item.measured));
}

void StepPlan::reserve(const std::string& kind, const Spending& cost) {
  overhead(kind) = {cost, 0, 0};
}

Spending StepPlan::step_cost() const {
  Spending sum;
  for (const Spending& cost : costs_) sum = sum + cost;
  return sum * (1.0 / static_cast<double>(costs_.size()));
}

double StepPlan::share_of_budget(const Spending& spent) const {
  double share = 0;
  for (const Limit& limit : limits(budget_, spent, {}, {}))
    share = std::max(share, limit.spent / limit.total);
  return share;
}

// Steps that still fit, overheads along the way and at the end included.
int64_t StepPlan::affordable(int64_t step, const Spending& spent) const {
  Spending per_step = step_cost(), reserved;
  for (const auto& [kind, item] : overheads_) {
    if (item.every > 0) {
      per_step = per_step + item.cost * (1.0 / static_cast<double>(item.every));
    } else {
      reserved = reserved + item.cost;
    }
  }
  int64_t steps = exact_steps() == kNoLimit ? kNoLimit : std::max<int64_t>(0, exact_steps() - step);
  for (const Limit& limit : limits(budget_, spent, reserved, per_step)) {
    const double left = limit.total - limit.spent - limit.reserved;
    const double fit = limit.per_step > 0 ? std::floor(left / limit.per_step + 0.5) : 1e15;
    steps = std::min(steps, static_cast<int64_t>(std::clamp(fit, 0.0, 1e15)));
  }
  return steps;
}

void StepPlan::revise(int64_t step, int64_t remaining, const Spending& spent, const std::string& reason) {
  revisions_.push_back({step, progress(step), remaining, spent, reason});
}

void StepPlan::step_done(int64_t step, const Spending& cost, const Spending& spent) {
  if (!budget_.measured() || following_) return;
  ++seen_;
  // The first step of a process touches memory for the first time and is not what the others will cost.
  if (seen_ == 1 && share_of_budget(cost) < kFirstStep) return;
  costs_.push_back(cost);
  if (costs_.size() > kWindow) costs_.pop_front();
  const int64_t steps = affordable(step, spent);
  if (revisions_.empty()) {
    // One slow step (a cold start, a busy machine) does not end a run: where another fits, that one decides.
    if (steps == 0 && seen_ == 1 && share_of_budget(spent + cost) < 1) {
      costs_.clear();
      return;
    }
    revise(step, steps, spent, "first measurement");
    return;
  }
  const double off_by = static_cast<double>(std::abs(steps - remaining(step)));
  const bool last = steps == 0 && remaining(step) > 0;
  if (last || share_of_budget(step_cost() * off_by) > kTolerance) revise(step, steps, spent, "speed");
}

void StepPlan::replan(int64_t step, const Spending& spent, const std::string& reason) {
  if (following_) return;
  while (!revisions_.empty() && revisions_.back().step > step)
    revisions_.pop_back();  // planned in undone steps
  if (budget_.measured() && !costs_.empty()) revise(step, affordable(step, spent), spent, reason);
}

Json StepPlan::save() const {
  Json list = Json::array();
  for (const PlanRevision& revision : revisions_) list.push_back(write_fields(revision));
  Json overheads = Json::object();
  for (const auto& [kind, item] : overheads_) {
    overheads[kind] = {{"cost", write_fields(item.cost)}, {"every", item.every}, {"measured", item.measured}};
  }
  Json state = {{"budget", write_fields(budget_)},
                {"tokens_per_step", tokens_per_step_},
                {"revisions", list},
                {"overheads", overheads}};
  if (!costs_.empty()) state["step_cost"] = write_fields(step_cost());
  return state;
}

void StepPlan::restore(const Json& state, int64_t step, const Spending& spent, const std::string& where) {
  Budget saved;
  int64_t tokens_per_step = 0;
  std::vector<PlanRevision> revisions;
  try {
    read_fields(saved, state.at("budget"), where);
    tokens_per_step = state.at("tokens_per_step").get<int64_t>();
    for (const Json& item : state.at("revisions")) read_fields(revisions.emplace_back(), item, where);
    costs_.clear();
    if (state.contains("step_cost")) read_fields(costs_.emplace_back(), state.at("step_cost"), where);
    overheads_.clear();
    for (const auto& [kind, item] : state.at("overheads").items()) {
      Overhead& known = overheads_.emplace_back(kind, Overhead{}).second;
      read_fields(known.cost, item.at("cost"), where);
      known.every = item.at("every").get<int64_t>();
      known.measured = item.at("measured").get<int64_t>();
    }
  } catch (const nlohmann::json::exception& error) {
    fail("{}: the step plan is damaged: {}", where, error.what());
  }
  revisions_ = std::move(revisions);
  seen_ = 0;
  if (saved == budget_ && tokens_per_step == tokens_per_step_) return;
  // Another budget does not continue the old curve: progress is what was used of the new one.
  revisions_.clear();
  double used = share_of_budget(spent);
  if (exact_steps() != kNoLimit)
    used = std::max(used, static_cast<double>(step) / static_cast<double>(exact_steps()));
  if (budget_.measured() && costs_.empty()) return;  // stopped before it could measure: so was the plan
  const int64_t left =
      budget_.measured() ? affordable(step, spent) : std::max<int64_t>(0, exact_steps() - step);
  revisions_.push_back({step, std::min(1.0, used), left, spent, "budget changed"});
}

void StepPlan::follow(std::vector<PlanRevision> log) {
  revisions_ = std::move(log);
  following_ = true;
}

}  // namespace frugal
