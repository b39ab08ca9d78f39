// From a recipe to a run: the stages one after another, each metered, each skipped when it is done already.
// The same command run again goes on where it stopped.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/files.h"
#include "core/json.h"
#include "meter/bill.h"
#include "pipeline/comparison.h"
#include "pipeline/observer.h"
#include "pipeline/recipe.h"

namespace frugal {

// The verb of runs that end when the teacher's cache is there.
inline constexpr std::string_view kAskTeacher = "distill cache";

struct RunSettings {
  Context& ctx;
  Observer& observer;
  std::string verb = "run";  // for the ledger; "train" ends after pretraining, "tune" does nothing else
  std::string recipe_file;
  std::string version;  // of the program, for the report
  fs::path cache;       // tokenised data; empty: in the run directory
  fs::path ledger;      // empty: none is kept
  const std::atomic<bool>* stop = nullptr;
};

// What one seed came to.
struct SeedOutcome {
  int64_t seed = 0;
  fs::path output;
  std::optional<double> bits_per_byte;
  std::optional<double> questions_correct;  // share
  std::optional<double> validation;         // of tuning, in what `measured` says ("nats per target")
  std::optional<double> before;             // likewise, of the model that came
  std::string measured;
  int64_t tokens = 0;
  Bill bill;
  // With a teacher's cache: the run's part of what the cache cost so far less what the run spent on it.
  std::optional<Share> share;
};

struct RunOutcome {
  fs::path output, report, model;
  std::vector<SeedOutcome> seeds;
  std::vector<ModelFigures> models;  // with a [student]: all that were trained, the teacher first
  Bill bill;                         // of everything, earlier processes included
  // The bill with the teacher's caches split among all runs that learned from them; nothing without caches.
  std::optional<Bill> charged() const;
};

// Error or UsageError when something is wrong; Interrupted when *settings.stop was set (all is kept).
RunOutcome run_recipe(const Recipe& recipe, const RunSettings& settings);

// The command line's contract: tokens, seconds, val_bits_per_byte, joules, dollars, co2_g, per seed where
// there are several, per model where there is a student, and "charged" where there is a teacher's cache.
Json outcome_json(const RunOutcome& outcome);

}  // namespace frugal
