// What a run may use, and the plan of steps made from it. A budget in tokens or steps is a fixed number of
// steps and bit-exact. One in minutes, joules or dollars becomes a number of steps from their measured cost;
// whenever the measured cost drifts, the plan is revised. Progress is linear in steps between two revisions
// and continuous at each, so the learning rate never jumps, and it reaches 1 as the budget ends. Revisions
// are kept: a resumed run follows them.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "core/fields.h"
#include "core/json.h"

namespace frugal {

struct Budget {
  double minutes = 0;
  int64_t tokens = 0;
  double joules = 0;
  double dollars = 0;
  int64_t steps = 0;

  void visit(FieldVisitor& v);
  bool measured() const { return minutes > 0 || joules > 0 || dollars > 0; }
  bool operator==(const Budget&) const = default;
};
// UsageError when nothing is set, or something is negative or not finite.
void check(const Budget& budget);
std::string to_string(const Budget& budget);  // "20 minutes and 1000000 tokens"

// What was used so far, or by one step.
struct Spending {
  double seconds = 0, joules = 0, dollars = 0;

  Spending operator+(const Spending& other) const;
  Spending operator-(const Spending& other) const;
  Spending operator*(double factor) const;
  void visit(FieldVisitor& v);
};

// From `step` finished steps on, `remaining` more take progress from `progress` to 1.
struct PlanRevision {
  int64_t step = 0;
  double progress = 0;
  int64_t remaining = 0;
  Spending spent;  // when it was made
  std::string reason;

  void visit(FieldVisitor& v);
};

class StepPlan {
 public:
  // Error when the budget is smaller than one step of `tokens_per_step`.
  StepPlan(const Budget& budget, int64_t tokens_per_step);

  // After `step` finished steps: share of the budget used, in [0, 1].
  double progress(int64_t step) const;
  // Steps still to do by the latest revision; -1 while no step was measured.
  int64_t remaining(int64_t step) const;
  bool done(int64_t step) const { return remaining(step) == 0; }

  // Work besides steps that comes back every `every` steps, and what it cost this time (the mean is kept).
  void periodic(const std::string& kind, const Spending& cost, int64_t every);
  // Work that is still to be done at the end, by the latest estimate.
  void reserve(const std::string& kind, const Spending& cost);
  // After each step: what it cost alone, and what was spent in all. Revises when needed.
  void step_done(int64_t step, const Spending& cost, const Spending& spent);
  // After going back to an earlier checkpoint (`step`): plans the rest with what is left.
  void replan(int64_t step, const Spending& spent, const std::string& reason);

  // Replays a run: these revisions and no others, whatever is measured.
  void follow(std::vector<PlanRevision> log);

  const Budget& budget() const { return budget_; }
  const std::vector<PlanRevision>& revisions() const { return revisions_; }
  // For state/. restore() reads what save() wrote; with another budget than the saved one the rest is planned
  // anew.
  Json save() const;
  void restore(const Json& state, int64_t step, const Spending& spent, const std::string& where);

 private:
  struct Overhead {
    Spending cost;
    int64_t every = 0;  // 0: once, at the end
    int64_t measured = 0;
  };
  Overhead& overhead(const std::string& kind);
  const PlanRevision* in_force(int64_t step) const;
  int64_t exact_steps() const;
  int64_t affordable(int64_t step, const Spending& spent) const;
  Spending step_cost() const;
  double share_of_budget(const Spending& spent) const;
  void revise(int64_t step, int64_t remaining, const Spending& spent, const std::string& reason);

  Budget budget_;
  int64_t tokens_per_step_;
  std::vector<PlanRevision> revisions_;
  std::deque<Spending> costs_;  // of the latest steps, at most kWindow
  int64_t seen_ = 0;            // steps of this process
  bool following_ = false;
  std::vector<std::pair<std::string, Overhead>> overheads_;
};

}  // namespace frugal
