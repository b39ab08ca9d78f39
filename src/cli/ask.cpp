// frugal distill ask RECIPE: a model behind an OpenAI-compatible endpoint makes training text.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/user_files.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "core/interrupted.h"
#include "pipeline/ask.h"

namespace frugal::cli {
namespace {

struct AskArguments {
  CommonOptions common;
  std::string recipe;
  std::vector<std::string> set;
};

// A recipe names the variable, so main() cannot have read it.
std::string key_from_environment(const std::string& name) {
  if (name.empty()) return "";
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0')
    fail_usage("the variable {} is not set: it holds the endpoint's key; api_key_env = \"\" sends none",
               name);
  return value;
}

std::string outcome_text(const remote::AskOutcome& o) {
  std::string text = fmt::format("  answers      {} of {}", o.known + o.answered, o.wanted);
  if (o.known > 0) text += fmt::format(", {} of them by earlier runs", o.known);
  if (o.duplicates > 0) text += fmt::format("; {} prompts stood there twice", o.duplicates);
  text += fmt::format("\n  kept         {}", o.kept);
  for (const auto& [reason, count] : o.dropped) text += fmt::format(", {} {}", count, reason);
  for (const auto& [flag, count] : o.flags)
    text += fmt::format("\n  flagged      {}: {} answers", flag, count);
  text +=
      fmt::format("\n  endpoint     ${:.4f} for {} + {} tokens", o.dollars, o.prompt_tokens, o.answer_tokens);
  if (o.uncertain > 0)
    text += fmt::format(", and up to ${:.4f} for requests that failed but may be billed", o.uncertain);
  if (o.spent > o.dollars + o.uncertain) text += fmt::format("; ${:.4f} with earlier runs", o.spent);
  return text + fmt::format("\n  dataset      {}\n", o.dataset.string());
}

void ask(const AskArguments& a, const Environment& environment) {
  const AskRecipe recipe = load_ask_recipe(a.recipe, a.set, user_prices(environment));
  const remote::Access access{key_from_environment(recipe.ask.api_key_env), environment.ca_file};
  ProgressDisplay display(progress_options(a.common, environment));
  const Interrupt interrupt;
  const AskRun run =
      run_ask(recipe, a.recipe, access, ledger_or_none(environment), display, &interrupt.flag());
  const remote::AskOutcome& outcome = run.outcome;
  const std::string again = "the same command goes on with the rest";
  if (outcome.stopped)
    throw Interrupted(fmt::format("stopped with {} answers missing; all that came is kept in {}, {}",
                                  outcome.missing(), recipe.output, again));
  if (!outcome.failure.empty()) {
    fail("{} of {} answers are missing: {}; what came is kept in {}, {}", outcome.missing(), outcome.wanted,
         outcome.failure, recipe.output, again);
  }
  if (a.common.json) {
    Json json = outcome.json();
    json["bill"] = bill_json(run.bill);
    return print_json(json);
  }
  if (outcome.capped) {
    display.warning(
        fmt::format("stopped at spend_cap with {} answers missing: the next request could have passed it; a "
                    "higher cap goes on",
                    outcome.missing()));
  }
  print("\nThe bill\n" + bill_text(run.bill) + "\n" + outcome_text(outcome));
}

}  // namespace

void declare_distill_ask(Command& distill, const Environment& environment) {
  Command command = distill.subcommand("ask", "Only ask a remote model: its answers become training text");
  const auto a = std::make_shared<AskArguments>();
  command.positional("RECIPE", a->recipe, "A .toml file (docs/distillation.md, black-box teachers)");
  command.option("--set", a->set, "Overrides a key of the recipe: --set spend_cap=5");
  a->common.declare(command);
  command.footer("Keys of a recipe, with their defaults:\n" + ask_recipe_help());
  command.action([a, environment] { ask(*a, environment); });
}

}  // namespace frugal::cli
