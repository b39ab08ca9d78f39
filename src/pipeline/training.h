// What the stages that train share: log.jsonl, the bill while they work, what is written beside the weights.
// Private to pipeline/.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/generation_config.h"
#include "pipeline/stages.h"
#include "train/trainer.h"

namespace frugal {

// Writes log.jsonl: every step at first, then ever fewer, so that a log stays some megabytes.
class StepLog {
 public:
  // `evaluation_key`: what evaluations are called in it; `prefix` stands before the names of events.
  explicit StepLog(RunDirectory& directory, std::string evaluation_key = "bits_per_byte",
                   std::string prefix = "")
      : directory_(directory), evaluation_key_(std::move(evaluation_key)), prefix_(std::move(prefix)) {}
  // `figures`: what else the step says, numbers by name; none: the line has no such key.
  void step(const StepRecord& record, const Json& figures = Json());
  void event(const TrainEvent& event, int64_t tokens_per_step);

 private:
  RunDirectory& directory_;
  std::string evaluation_key_, prefix_;
  std::map<int, std::vector<int64_t>> experts_;
};

// Saves the stage's record with the bill so far, so that a killed run loses at most half a minute of it.
class RecordKeeper {
 public:
  explicit RecordKeeper(Run& run) : run_(run), earlier_(run.record.bill) {}
  void save();
  bool heartbeat();  // saves when the last time is long ago; whether it did

 private:
  Run& run_;
  const Bill earlier_;  // of the processes before this one
  double saved_at_ = 0;
};

// TrainerHooks::spent by the stage's meter, from now on.
std::function<Spending()> stage_spending(const Run& run);
// Passes on what the user should hear of.
void tell(const Run& run, const TrainEvent& event);
// Date, threads, processor, instruction set, version.
Json machine_json(const Run& run);
// generation_config.json, the keys that say something.
std::string generation_config_text(const GenerationConfig& generation);
// tokenizer.json and what belongs to it, by name; `from`: where the tokenizer was loaded.
std::map<std::string, std::string> tokenizer_files(const Tokenizer& tokenizer, const fs::path& from);

}  // namespace frugal
