// The recipe of `frugal distill ask`, and its run: a remote model makes training text, metered and in the
// ledger. What the endpoint is paid for stands there as a stage of its own, apart from this machine's.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "core/fields.h"
#include "meter/bill.h"
#include "meter/prices.h"
#include "pipeline/observer.h"
#include "remote/ask.h"

namespace frugal {

// The verb in the ledger.
inline constexpr std::string_view kAskRemote = "distill ask";

struct AskRecipe {
  int64_t schema = 1;
  std::string output;
  remote::AskOptions ask;
  Prices meter;

  void visit(FieldVisitor& v) {
    v.field("schema", schema, "of this file's layout");
    v.field("output", output, "folder of journal and dataset; empty: runs/ and the recipe's name");
    ask.visit(v);
    v.field("meter", meter, "");
  }
};

// As load_recipe.
AskRecipe load_ask_recipe(const std::filesystem::path& file, const std::vector<std::string>& set,
                          const Prices& prices = {});
AskRecipe parse_ask_recipe(std::string_view text, const std::string& name,
                           const std::vector<std::string>& set, const Prices& prices = {});
std::string ask_recipe_help();

struct AskRun {
  remote::AskOutcome outcome;
  Bill bill;  // machine and endpoint
};

// `ledger`: empty: none is kept. Errors as remote::ask; what prompts failed of is in
// the outcome.
AskRun run_ask(const AskRecipe& recipe, const std::string& recipe_file, const remote::Access& access,
               const fs::path& ledger, Observer& observer, const std::atomic<bool>* stop);

}  // namespace frugal
