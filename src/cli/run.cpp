// frugal run RECIPE, frugal train RECIPE, frugal tune RECIPE: from a recipe to a model, a bill and a report.
// `train` ends after pretraining, `distill` asks for a teacher, `tune` has recipes of its own.
#include <nlohmann/json.hpp>

#include "cli/interrupt.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/user_files.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "core/interrupted.h"
#include "meter/units.h"
#include "pipeline/pipeline.h"

namespace frugal::cli {
namespace {

struct RunArguments {
  CommonOptions common;
  std::string verb, recipe;
  std::vector<std::string> set;
};

std::string command_of(const RunArguments& a) {
  std::string command = "frugal " + a.verb + " " + shell_word(a.recipe);
  for (const std::string& set : a.set) command += " --set " + shell_word(set);
  if (a.common.threads) command += fmt::format(" --threads {}", *a.common.threads);
  return command;
}

std::string range_of(const Joules& joules) {
  const std::string high = format_quantity(joules.high, "J");
  return joules.low == joules.high ? high : format_quantity(joules.low, "J") + " to " + high;
}

// The models of a run with a student, side by side.
std::string models_text(const std::vector<ModelFigures>& models) {
  std::string text = fmt::format("\nModels\n  {:<16}{:>12}{:>15}{:>15}{:>14}{:>22}{:>13}\n", "", "parameters",
                                 "bits per byte", "questions", "time", "energy", "cost");
  for (const ModelFigures& m : models) {
    const bool asked = m.questions.value_or(0) > 0;
    text += fmt::format(
        "  {:<16}{:>12}{:>15}{:>15}{:>14}{:>22}{:>13}\n", m.name, format_quantity(m.parameters, ""),
        m.bits_per_byte ? fmt::format("{:.4f}", *m.bits_per_byte) : "",
        asked ? fmt::format("{} of {}", *m.correct, *m.questions) : "", format_duration(m.bill.seconds),
        range_of(m.bill.joules), fmt::format("${:.6f}", m.bill.dollars));
  }
  return text +
         "  (training; a student's with its teacher's cache, a tuned model's for the tuning alone)\n\n";
}

void show(const RunArguments& a, const RunOutcome& outcome) {
  if (a.common.json) return print_json(outcome_json(outcome));
  std::string text = "\nThe bill\n" + bill_text(outcome.bill);
  if (const auto charged = outcome.charged()) {
    text +=
        fmt::format("  charged      {}, ${:.3g}, {} CO2: the teacher's cache split among those it taught\n",
                    range_of(charged->joules), charged->dollars, format_quantity(charged->co2_g, "g"));
  }
  text += "\n";
  if (a.verb == kAskTeacher) {
    return print(text + fmt::format("  the teacher's cache is there; to learn from it: frugal distill {}\n",
                                    shell_word(a.recipe)));
  }
  if (!outcome.models.empty()) text += models_text(outcome.models);
  for (const SeedOutcome& seed : outcome.seeds) {
    if (outcome.seeds.size() > 1) text += fmt::format("  seed {:<7} ", seed.seed);
    if (outcome.seeds.size() == 1 && (seed.bits_per_byte || seed.questions_correct))
      text += "  result       ";
    if (seed.bits_per_byte)
      text += fmt::format("{:.4f} bits per byte of validation text", *seed.bits_per_byte);
    if (seed.questions_correct) {
      text += fmt::format("{}{:.1f} % of held-out questions", seed.bits_per_byte ? ", " : "",
                          *seed.questions_correct * 100);
    }
    if (seed.validation) {
      text += fmt::format("{}{:.4f} {} on validation examples",
                          seed.bits_per_byte || outcome.seeds.size() > 1 ? ", " : "  result       ",
                          *seed.validation, seed.measured);
      if (seed.before) text += fmt::format(" ({:.4f} before)", *seed.before);
    }
    text += "\n";
  }
  text += fmt::format("  report       {}\n", outcome.report.string());
  text += fmt::format("  model        {}\n", outcome.model.string());
  if (!outcome.models.empty()) {  // what came last of the student
    const auto of_student = [](const ModelFigures& m) { return m.name.starts_with("student"); };
    for (auto m = outcome.models.rbegin(); m != outcome.models.rend(); ++m) {
      if (!of_student(*m)) continue;
      text += fmt::format("  student      {}\n", m->model.string());
      break;
    }
  }
  text += fmt::format(
      "  try          frugal generate {0} -p \"Once upon a time\"\n               frugal chat {0}\n",
      shell_word((outcome.model.parent_path()).string()));
  print(text);
}

void run(RunArguments a, const Environment& environment) {
  if (a.recipe.empty()) fail_usage("RECIPE is missing; see 'frugal {} --help'", a.verb);
  const Prices prices = user_prices(environment);
  Recipe recipe =
      a.verb == "tune" ? load_tune_recipe(a.recipe, a.set, prices) : load_recipe(a.recipe, a.set, prices);
  if (!recipe.init.empty()) recipe.init = pulled_or_same(recipe.init, environment);
  if (a.verb.starts_with("distill") && !recipe.distill.wanted()) {
    fail_usage("{}: distill.teacher: name the model to learn from", a.recipe);
  }
  if (recipe.distill.wanted()) recipe.distill.teacher = pulled_or_same(recipe.distill.teacher, environment);
  if (!a.common.threads && recipe.threads > 0) a.common.threads = recipe.threads;
  Runtime runtime(a.common, environment);
  ProgressDisplay display(progress_options(a.common, environment));
  const Interrupt interrupt;
  const RunSettings settings{runtime.ctx(),
                             display,
                             a.verb,
                             a.recipe,
                             version_line(environment),
                             directory_of(environment.cache_home, environment.home, ".cache"),
                             ledger_or_none(environment),
                             &interrupt.flag()};
  try {
    show(a, run_recipe(recipe, settings));
  } catch (const Interrupted& stopped) {
    throw Interrupted(
        fmt::format("{}; all is kept in {}. To go on: {}", stopped.what(), recipe.output, command_of(a)));
  }
}

void declare(Command& command, const Environment& environment, std::string_view verb, bool required = true) {
  const auto a = std::make_shared<RunArguments>();
  a->verb = verb;
  command.positional("RECIPE", a->recipe, "A .toml file, or the directory of a run to go on with", required);
  command.option("--set", a->set, "Overrides a key of the recipe: --set budget.minutes=20");
  a->common.declare(command);
  command.footer("Keys of a recipe, with their defaults:\n" +
                 (a->verb == "tune" ? tune_recipe_help() : recipe_help()));
  command.action([a, environment] { run(*a, environment); });
}

}  // namespace

void declare_run(Command& command, const Environment& environment) {
  declare(command, environment, "run");
}
void declare_train(Command& command, const Environment& environment) {
  declare(command, environment, "train");
}
void declare_distill(Command& command, const Environment& environment) {
  declare(command, environment, "distill", false);
  Command cache =
      command.subcommand("cache", "Only ask the teacher: fill the cache that students learn from");
  declare(cache, environment, kAskTeacher);
  declare_distill_ask(command, environment);
}
void declare_tune(Command& command, const Environment& environment) {
  declare(command, environment, "tune");
}

}  // namespace frugal::cli
