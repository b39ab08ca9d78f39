#include "pipeline/ask.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "meter/meter.h"
#include "pipeline/books.h"
#include "pipeline/recipe.h"
#include "pipeline/recipe_text.h"
#include "pipeline/toml.h"

namespace frugal {
namespace {

constexpr std::string_view kStage = "ask";

Bill endpoint_bill(const remote::AskOutcome& outcome) {
  Bill bill;
  bill.dollars = outcome.dollars;
  bill.tokens = outcome.prompt_tokens + outcome.answer_tokens;
  return bill;
}

Bill sum(Bill machine, const Bill& endpoint) {
  machine.dollars += endpoint.dollars;
  machine.tokens += endpoint.tokens;
  return machine;
}

std::string summary(const remote::AskOutcome& o) {
  return fmt::format("{} of {} answered{}, {} kept, ${:.4f} to the endpoint", o.known + o.answered, o.wanted,
                     o.known > 0 ? fmt::format(" ({} before)", o.known) : "", o.kept, o.dollars);
}

}  // namespace

AskRecipe parse_ask_recipe(std::string_view text, const std::string& name,
                           const std::vector<std::string>& set, const Prices& prices) {
  TomlDocument document = parse_toml(text, name);
  const std::vector<std::string> set_keys = apply_set(
      set, [](FieldVisitor& v) { AskRecipe().visit(v); }, document.values);
  const Locate where = locate_in(document, name, set_keys);
  AskRecipe recipe;
  recipe.meter = prices;
  read_fields(recipe, document.values, where);
  if (recipe.output.empty()) recipe.output = "runs/" + fs::path(name).stem().string();
  const auto check_values = [&] {
    if (recipe.schema != kRecipeSchema)
      fail_usage("schema = {}: this frugal reads recipes of schema {}", recipe.schema, kRecipeSchema);
    check(recipe.ask);
    recipe.meter.check("meter");
  };
  check_located(check_values, document.values, where, name);
  return recipe;
}

AskRecipe load_ask_recipe(const fs::path& file, const std::vector<std::string>& set, const Prices& prices) {
  return parse_ask_recipe(read_file(file), file.string(), set, prices);
}

std::string ask_recipe_help() {
  return describe_fields(AskRecipe());
}

AskRun run_ask(const AskRecipe& recipe, const std::string& recipe_file, const remote::Access& access,
               const fs::path& ledger, Observer& observer, const std::atomic<bool>* stop) {
  Meter meter(recipe.meter);
  Books books(ledger, {std::string(kAskRemote), recipe_file, recipe.output, recipe.ask.model}, observer);
  observer.stage_begins(kStage, "asking " + recipe.ask.model);
  books.begin(kStage);
  const Meter::Stage metered = meter.start(std::string(kStage));
  remote::AskSettings settings{access, stop, {}};
  remote::AskOutcome so_far;
  settings.progress = [&](const remote::AskOutcome& now) {
    so_far = now;
    const double fraction =
        static_cast<double>(now.known + now.answered) / static_cast<double>(std::max<int64_t>(now.wanted, 1));
    const Bill bill = sum(metered.bill(), endpoint_bill(now));
    observer.progress({kStage, fraction, nullptr, bill});
    if (now.answered % 64 == 0) books.heartbeat(bill);
  };
  const auto end = [&](RunStatus status, const remote::AskOutcome& outcome) {
    const Bill machine = metered.bill(), all = sum(machine, endpoint_bill(outcome));
    books.end(status, machine, all);
    books.begin("endpoint");
    books.end(status, endpoint_bill(outcome), all);
    books.finish(status, all);
    return all;
  };
  try {
    AskRun run{remote::ask(recipe.ask, recipe.output, settings), {}};
    run.bill = end(run.outcome.stopped           ? RunStatus::interrupted
                   : run.outcome.failure.empty() ? RunStatus::done
                                                 : RunStatus::failed,
                   run.outcome);
    observer.stage_ends(kStage, summary(run.outcome), run.bill, false);
    return run;
  } catch (const std::exception&) {
    end(RunStatus::failed, so_far);
    throw;
  }
}

}  // namespace frugal
