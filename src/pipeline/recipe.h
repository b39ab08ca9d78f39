// A recipe: everything that decides a run, as one TOML file and `--set key=value` on top of it. The struct
// below is the only list of keys: reading, `--help`, docs/recipes.md and the resolved recipe.toml follow from
// its visitors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/fields.h"
#include "core/json.h"
#include "data/prepare.h"
#include "distill/options.h"
#include "meter/prices.h"
#include "train/budget.h"
#include "train/options.h"
#include "tune/options.h"

namespace frugal {

inline constexpr int64_t kRecipeSchema = 1;
// The entry of data.train that stands for the corpus that Frugal carries with itself.
inline constexpr std::string_view kSynthetic = "synthetic";

struct SyntheticTable {
  int64_t seed = 1;
  int64_t train_bytes = 8 << 20;
  int64_t valid_bytes = 128 << 10;
  bool chats = true;
  int64_t questions = 400;
  int64_t practice = 4000;

  void visit(FieldVisitor& v) {
    v.field("seed", seed, "of the generator; not the run's, so that seeds are compared on the same text");
    v.field("train_bytes", train_bytes, "text for training, about");
    v.field("valid_bytes", valid_bytes, "text for validation, about");
    v.field("chats", chats, "some documents are conversations");
    v.field("questions", questions, "held-out questions to ask");
    v.field("practice", practice, "other questions with answers, for tune.data.train = \"synthetic\"");
  }
};

struct DataTable : DataOptions {
  SyntheticTable synthetic;

  DataTable() { train = {std::string(kSynthetic)}; }
  bool is_synthetic() const { return train.size() == 1 && train[0] == kSynthetic; }
  void visit(FieldVisitor& v) {
    DataOptions::visit(v);
    v.field("synthetic", synthetic, "the corpus of data.train = \"synthetic\"");
  }
};

// Whether tuning learns from the practice questions of that corpus.
inline bool is_synthetic(const TuneData& data) {
  return data.train.size() == 1 && data.train[0] == kSynthetic;
}

struct TokenizerTable {
  std::string path;
  int64_t vocab_size = 0;
  int64_t max_bytes = 256 << 20;

  void visit(FieldVisitor& v) {
    v.field("path", path, "a tokenizer.json or model directory to use; empty: train one on data.train");
    v.field("vocab_size", vocab_size, "of the one to train; 0: as the model's preset says");
    v.field("max_bytes", max_bytes, "text it is trained on, at most");
  }
};

// Any key of the preset's config.json may stand in [model] as well (hidden_size = 256); see
// ModelTable::overrides.
struct ModelTable {
  std::string preset = "nano";
  std::string overrides = "{}";  // JSON: those other keys

  void visit(FieldVisitor& v) {
    v.field("preset", preset,
            "shape to start from (frugal info --preset NAME); its config keys may follow here");
  }
};

// Keys of a recipe that differ for a smaller model that learns from this run's; see student_recipe().
struct StudentTable {
  bool from_scratch = false;
  std::string changes = "{}";  // JSON: the keys

  bool wanted() const { return changes != "{}"; }
  void visit(FieldVisitor& v) {
    v.field("from_scratch", from_scratch,
            "train one of the student's shape without the teacher too, on the energy that student and cache "
            "took, to compare");
  }
};

struct EvalTable {
  int64_t evaluations = 12;
  int64_t sample_tokens = 16384;
  int64_t rows = 16;
  int64_t answer_tokens = 64;

  void visit(FieldVisitor& v) {
    v.field("evaluations", evaluations,
            "quick looks at validation spread over the training, besides the full one");
    v.field("sample_tokens", sample_tokens, "tokens that a quick look reads");
    v.field("rows", rows, "windows evaluated at a time");
    v.field("answer_tokens", answer_tokens, "an answer to a held-out question may have");
  }
};

struct SamplesTable {
  std::vector<std::string> prompts;
  int64_t count = 4;
  int64_t tokens = 96;
  double temperature = 0.8;
  double min_p = 0.05;

  void visit(FieldVisitor& v) {
    v.field("prompts", prompts, "beginnings to continue; none: from validation documents");
    v.field("count", count, "beginnings taken from validation documents");
    v.field("tokens", tokens, "to write for each");
    v.field("temperature", temperature, "0 takes the most likely token");
    v.field("min_p", min_p, "keep tokens at least this likely relative to the most likely one");
  }
};

struct Recipe {
  int64_t schema = kRecipeSchema;
  std::string output;
  std::string init;
  std::vector<int64_t> seed = {1};
  int64_t threads = 0;
  DataTable data;
  TokenizerTable tokenizer;
  ModelTable model;
  Budget budget;
  TrainOptions train;
  DistillOptions distill;
  StudentTable student;
  EvalTable eval;
  SamplesTable samples;
  TuneOptions tune;
  Prices meter;
  bool tune_only =
      false;  // of `frugal tune`: the keys of [tune] stand at the top, and those of training are unknown

  Recipe() { train.save_minutes = 5; }
  void visit(FieldVisitor& v) {
    v.field("schema", schema, "of this file's layout");
    v.field("output", output, "run directory; empty: runs/ and the recipe's name");
    v.field("init", init, "model to start from; empty: random weights");
    v.field("seed", seed, "of weights and the order of the data; several: a run for each, compared");
    v.field("threads", threads, "0: as many as this process may use");
    v.field("data", data, "");
    v.field("tokenizer", tokenizer, "");
    v.field("model", model, "");
    v.field("budget", budget, "set at least one");
    v.field("train", train, "");
    v.field("distill", distill, "");
    v.field("student", student, "");
    v.field("eval", eval, "");
    v.field("samples", samples, "");
    v.field("tune", tune, "");
    v.field("meter", meter, "");
  }
};

// Reads the file, then each "key=value" of `set` over it. `prices` are the user's own, which the recipe's
// [meter] overrides. UsageError with file and line (or the --set) for anything unknown, of the wrong type or
// out of range.
Recipe load_recipe(const std::filesystem::path& file, const std::vector<std::string>& set,
                   const Prices& prices = {});
// The same from text; `name` stands for the file in errors and for an empty `output`.
Recipe parse_recipe(std::string_view text, const std::string& name, const std::vector<std::string>& set,
                    const Prices& prices = {});

// The run that follows one with a [student]: the same recipe with that table's keys, its teacher the model of
// `recipe`, its output a folder student/ of that one. Keys of [init], [distill] and [tune] are the student's
// own only; a [budget] replaces the whole of the other. UsageError as above.
Recipe student_recipe(const Recipe& recipe);
// The same shape without the teacher and untuned, in scratch/, on so much energy.
Recipe scratch_recipe(const Recipe& recipe, double joules);

// The same for the recipe of `frugal tune` (docs/tuning.md).
Recipe load_tune_recipe(const std::filesystem::path& file, const std::vector<std::string>& set,
                        const Prices& prices = {});
Recipe parse_tune_recipe(std::string_view text, const std::string& name, const std::vector<std::string>& set,
                         const Prices& prices = {});
std::string tune_recipe_help();

// Every key with its value, model overrides included: what recipe.toml of a run holds.
Json resolved(const Recipe& recipe);
// The model's config.json with the given vocabulary and special ids. UsageError when the dimensions are
// impossible.
Json model_config(const Recipe& recipe, int64_t vocab_size, int bos, int eos);
// tokenizer.vocab_size, or the preset's.
int64_t wanted_vocabulary(const Recipe& recipe);

// The user's own prices: the table [meter] of a configuration file. Defaults when there is no such file.
Prices read_user_prices(const std::filesystem::path& config);

// All keys with their defaults, a line each.
std::string recipe_help();

}  // namespace frugal
