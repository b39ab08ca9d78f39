// Cleaning, splitting and tokenising the text, into a cache keyed by content.
#include <fmt/core.h>

#include "core/error.h"
#include "data/source.h"
#include "meter/units.h"
#include "pipeline/stages.h"

namespace frugal {
namespace {

std::string inputs(Run& run) {
  const DataOptions options = run.data_options();
  std::vector<std::string> files = expand_patterns(options.train, "data.train");
  if (!options.valid.empty()) {
    for (std::string& file : expand_patterns(options.valid, "data.valid")) files.push_back(std::move(file));
  }
  return hash_of({to_text(write_fields(options)), hash_files(files),
                  fmt::format("{:016x}", run.tokenizer().fingerprint())});
}

Json work(Run& run) {
  const PreparedData& data = run.data();
  Json result = write_fields(data.report);
  result["key"] = data.key;
  return result;
}

std::string summary(const Json& result) {
  const double tokens = result.value("train_tokens", 0.0), bytes = result.value("train_bytes", 0.0);
  return fmt::format("{} documents, {}, {:.2f} bytes a token", result.value("train_documents", int64_t{0}),
                     count_of(tokens, "tokens"), tokens > 0 ? bytes / tokens : 0);
}

}  // namespace

const Stage kDataStage = {"data",
                          "cleaning and tokenising",
                          true,
                          false,
                          [](const Run& run) { return !run.recipe.tune_only; },
                          inputs,
                          work,
                          summary};

}  // namespace frugal
