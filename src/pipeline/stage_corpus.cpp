// The corpus that Frugal carries with itself, written into the run directory as JSON Lines.
#include <fmt/core.h>

#include "data/synthetic.h"
#include "pipeline/stages.h"

namespace frugal {
namespace {

SyntheticCorpus corpus_of(const Run& run) {
  const SyntheticTable& table = run.recipe.data.synthetic;
  SyntheticOptions options;
  options.train_bytes = table.train_bytes;
  options.valid_bytes = table.valid_bytes;
  options.chats = table.chats;
  options.questions = table.questions;
  options.practice = table.practice;
  return SyntheticCorpus(static_cast<uint64_t>(table.seed), options);
}

std::string inputs(Run& run) {
  return hash_of({to_text(write_fields(run.recipe.data.synthetic))});
}

Json work(Run& run) {
  const SyntheticCorpus corpus = corpus_of(run);
  corpus.write(run.corpus());
  int64_t bytes = 0;
  for (const char* name : {"train.jsonl", "valid.jsonl", "questions.jsonl", "practice.jsonl"}) {
    const fs::path file = run.corpus() / name;
    if (fs::exists(file)) bytes += static_cast<int64_t>(fs::file_size(file));  // no practice: no such file
  }
  return Json{{"bytes", bytes}, {"questions", run.recipe.data.synthetic.questions}};
}

std::string summary(const Json& result) {
  return fmt::format("{:.1f} MB of text, {} questions held out", result.value("bytes", 0.0) / 1e6,
                     result.value("questions", int64_t{0}));
}

}  // namespace

const Stage kCorpusStage = {
    "corpus",
    "writing a synthetic corpus",
    true,
    false,
    [](const Run& run) { return !run.recipe.tune_only && run.recipe.data.is_synthetic(); },
    inputs,
    work,
    summary};

}  // namespace frugal
