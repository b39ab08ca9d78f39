// The stages of a run. Adding one: a file and a line in the list of stages.cpp. Private to pipeline/.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "data/prepare.h"
#include "meter/meter.h"
#include "models/model.h"
#include "pipeline/pipeline.h"
#include "pipeline/run_directory.h"
#include "text/tokenizer.h"

namespace frugal {

class Books;  // pipeline/books.h

// What a stage works with. Products of earlier stages are read back when they are first asked for, so it does
// not matter whether those stages ran now or long ago.
class Run {
 public:
  // `shared` holds corpus and tokenizer: `directory` itself, or the sweep's.
  Run(const Recipe& run_recipe, const RunSettings& run_settings, RunDirectory& shared_directory,
      RunDirectory& run_directory, int64_t run_seed)
      : recipe(run_recipe),
        settings(run_settings),
        shared(shared_directory),
        directory(run_directory),
        seed(run_seed) {}

  const Recipe& recipe;
  const RunSettings& settings;
  RunDirectory& shared;
  RunDirectory& directory;
  const int64_t seed;
  Meter* meter = nullptr;               // while a stage works
  const Meter::Stage* stage = nullptr;  // likewise
  Books* books = nullptr;               // likewise
  StageRecord record;                   // of the working stage; a stage may save it before it is done

  // data.train and data.valid with the synthetic corpus in place of its name.
  DataOptions data_options() const;
  // tune with the corpus's practice questions in place of that name.
  TuneOptions tune_options() const;
  fs::path corpus() const { return shared.path() / "corpus"; }
  fs::path tokenizer_path() const;
  const Tokenizer& tokenizer();
  const PreparedData& data();
  // Of a stage that is done, here or, when all runs share it, there; an empty object otherwise.
  Json result(std::string_view stage_name) const;

  // Adds to the bill of the working stage.
  void count(const Work& work) const;
  void progress(std::string_view name, double fraction, const StepRecord* step = nullptr) const;
  // Throws Interrupted when the user asked to stop.
  void check_stop() const;

 private:
  std::optional<Tokenizer> tokenizer_;
  std::optional<PreparedData> data_;
};

struct Stage {
  std::string_view name, help;
  bool shared;  // done once for all seeds
  // What replaces it destroys work that cannot be repeated cheaply: with other inputs it is an error, not
  // done again.
  bool precious;
  bool (*wanted)(const Run& run);
  // Hash of all that decides the result.
  std::string (*inputs)(Run& run);
  // Does the work; the result as JSON.
  Json (*work)(Run& run);
  std::string (*summary)(const Json& result);
};
std::span<const Stage* const> all_stages();

// The entries of the list.
extern const Stage kCorpusStage, kTokenizerStage, kDataStage, kTeacherStage, kPretrainStage, kEvaluateStage,
    kSamplesStage, kTuneStage, kExamStage;

// "1.54 M parameters"
std::string count_of(double count, std::string_view noun);
// Hash of JSON values and texts, each framed.
std::string hash_of(const std::vector<std::string>& parts);
// Of the contents of files, in order, and their names.
std::string hash_files(const std::vector<std::string>& files);

}  // namespace frugal
