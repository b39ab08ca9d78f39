#include "pipeline/recipe.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/thread_pool.h"
#include "data/source.h"
#include "models/model.h"
#include "pipeline/recipe_text.h"
#include "pipeline/run_directory.h"
#include "pipeline/toml.h"

namespace frugal {
namespace {

constexpr int64_t kMostQuestions = 100'000;

// Takes the config.json keys out of [model].
Json take_overrides(Json& values) {
  Json overrides = Json::object();
  const auto model = values.find("model");
  if (model == values.end() || !model->is_object()) return overrides;
  for (auto it = model->begin(); it != model->end();) {
    if (it.key() == "preset") {
      ++it;
    } else {
      overrides[it.key()] = it.value();
      it = model->erase(it);
    }
  }
  return overrides;
}

// Takes the keys of other tables out of [student].
Json take_changes(Json& values) {
  Json changes = Json::object();
  const auto student = values.find("student");
  if (student == values.end() || !student->is_object()) return changes;
  for (auto it = student->begin(); it != student->end();) {
    if (it.key() == "from_scratch") {
      ++it;
    } else {
      changes[it.key()] = it.value();
      it = student->erase(it);
    }
  }
  return changes;
}

void check_overrides(const Recipe& recipe, const Locate& where) {
  const Json overrides = parse_json(recipe.model.overrides, "model");
  const int64_t vocabulary = recipe.tokenizer.vocab_size;
  if (vocabulary > 0 && overrides.contains("vocab_size") && overrides["vocab_size"] != vocabulary) {
    fail_usage("{}: model.vocab_size = {} and tokenizer.vocab_size = {}: set one of them",
               where("model.vocab_size"), to_text(overrides["vocab_size"]), vocabulary);
  }
  const Json known = create_model(preset_config(recipe.model.preset))->config();
  std::vector<std::string> names = {"preset"};
  for (const auto& [name, value] : known.items()) names.push_back(name);
  for (const auto& [name, value] : overrides.items()) {
    if (known.contains(name)) continue;
    const std::string_view near = nearest_name(name, names);
    fail_usage("{}: unknown key 'model.{}'{}", where("model." + name), name,
               near.empty() ? fmt::format("; the config of preset {} has no such key", recipe.model.preset)
                            : fmt::format("; did you mean 'model.{}'?", near));
  }
}

// As the tune verb's recipe is checked, with the table's name before the key.
void check_tune_table(const Recipe& recipe) {
  if (is_synthetic(recipe.tune.data) && !(recipe.data.is_synthetic() && recipe.data.synthetic.practice > 0)) {
    fail_usage(
        "tune.data.train: \"synthetic\" are the practice questions of data.train = \"synthetic\", which this "
        "run does not have");
  }
  try {
    check(recipe.tune);
  } catch (const UsageError& error) {
    fail_usage("tune.{}", error.what());
  }
}

void check_values(const Recipe& recipe) {
  const auto between = [](const char* key, double value, double low, double high) {
    if (!(value >= low && value <= high)) fail_usage("{} = {}: expected {} to {}", key, value, low, high);
  };
  const auto whole = [&](const char* key, int64_t value, int64_t low, double high) {
    between(key, static_cast<double>(value), static_cast<double>(low), high);
  };
  if (recipe.schema != kRecipeSchema) {
    fail_usage("schema = {}: this frugal reads recipes of schema {}", recipe.schema, kRecipeSchema);
  }
  whole("threads", recipe.threads, 0, ThreadPool::kMaxThreads);
  if (recipe.seed.empty()) fail_usage("seed = []: expected a number, or a list of numbers");
  for (const int64_t seed : recipe.seed) whole("seed", seed, 0, 9e15);
  std::vector<int64_t> seeds = recipe.seed;
  std::sort(seeds.begin(), seeds.end());
  const auto twice = std::adjacent_find(seeds.begin(), seeds.end());
  if (twice != seeds.end()) fail_usage("seed: {} stands twice in the list", *twice);
  if (recipe.data.train.empty()) fail_usage("data.train: name files, or \"synthetic\"");
  if (!recipe.data.is_synthetic() &&
      std::find(recipe.data.train.begin(), recipe.data.train.end(), kSynthetic) != recipe.data.train.end()) {
    fail_usage("data.train: \"synthetic\" stands alone, not among files");
  }
  whole("data.synthetic.seed", recipe.data.synthetic.seed, 0, 9e15);
  whole("data.synthetic.train_bytes", recipe.data.synthetic.train_bytes, 1000, 1e12);
  whole("data.synthetic.valid_bytes", recipe.data.synthetic.valid_bytes, 1000, 1e12);
  whole("data.synthetic.questions", recipe.data.synthetic.questions, 0, kMostQuestions);
  parse_invalid_utf8(recipe.data.invalid_utf8, "data.invalid_utf8");
  whole("data.synthetic.practice", recipe.data.synthetic.practice, 0, kMostQuestions);
  whole("tokenizer.vocab_size", recipe.tokenizer.vocab_size, 0, 1 << 24);
  whole("tokenizer.max_bytes", recipe.tokenizer.max_bytes, 1, 1e15);
  whole("eval.evaluations", recipe.eval.evaluations, 0, 1e6);
  whole("eval.sample_tokens", recipe.eval.sample_tokens, 1, 1e12);
  whole("eval.rows", recipe.eval.rows, 1, 1e6);
  whole("eval.answer_tokens", recipe.eval.answer_tokens, 1, 1e6);
  whole("samples.count", recipe.samples.count, 0, 1000);
  whole("samples.tokens", recipe.samples.tokens, 1, 1e6);
  between("samples.temperature", recipe.samples.temperature, 0, 100);
  between("samples.min_p", recipe.samples.min_p, 0, 1);
  check(recipe.budget);
  check(recipe.train);
  check(recipe.distill);
  if (recipe.distill.wanted() && !recipe.distill.crosses() && !recipe.tokenizer.path.empty()) {
    fail_usage(
        "tokenizer.path: a student has its teacher's tokenizer; leave it empty, or learn across tokenizers "
        "(distill.divergence = \"uld\" or \"alm\")");
  }
  if (recipe.distill.on_policy() && recipe.distill.prompt_tokens >= recipe.train.context) {
    fail_usage(
        "distill.prompt_tokens = {}: expected less than train.context = {}, which holds the text as well",
        recipe.distill.prompt_tokens, recipe.train.context);
  }
  if (!recipe.tune.method.empty()) check_tune_table(recipe);
  recipe.meter.check("meter");
}

}  // namespace

namespace {

Recipe recipe_of(Json values, const std::string& name, const Locate& where, const Prices& prices) {
  Recipe recipe;
  recipe.meter = prices;
  const Json all = values;
  recipe.model.overrides = to_text(take_overrides(values));
  recipe.student.changes = to_text(take_changes(values));
  read_fields(recipe, values, where);
  if (recipe.output.empty()) recipe.output = "runs/" + fs::path(name).stem().string();
  check_located([&] { check_values(recipe); }, all, where, name);
  try {
    preset_config(recipe.model.preset);
  } catch (const UsageError& error) {
    fail_usage("{}: model.preset: {}", where("model.preset"), error.what());
  }
  check_overrides(recipe, where);
  try {
    create_model(model_config(recipe, std::max<int64_t>(wanted_vocabulary(recipe), 1), -1, -1));
  } catch (const Error& error) {
    fail_usage("{}: [model]: {}", where("model"), error.what());
  }
  return recipe;
}

// What of a recipe may be another for its student: not the text, its ids, or where and how the run works.
constexpr std::array kStudentKeys = {"init",    "model", "budget",  "train",
                                     "distill", "eval",  "samples", "tune"};

Json student_values(const Recipe& recipe) {
  Json values = resolved(recipe);
  for (const char* key : {"student", "init", "distill", "tune"}) values.erase(key);
  Json changes = parse_json(recipe.student.changes, "student");
  if (changes.contains("budget")) values.erase("budget");
  if (!changes.contains("distill") || changes["distill"].is_object())
    changes["distill"]["teacher"] = recipe.output;
  values.merge_patch(changes);
  values["output"] = (fs::path(recipe.output) / "student").string();
  return values;
}

void check_student(const Recipe& recipe, const Locate& where) {
  if (!recipe.student.wanted()) {
    if (recipe.student.from_scratch)
      fail_usage("{}: student.from_scratch: there is no student: give it a model and a budget",
                 where("student.from_scratch"));
    return;
  }
  const Json changes = parse_json(recipe.student.changes, "student");
  for (const auto& [key, value] : changes.items()) {
    if (std::find(kStudentKeys.begin(), kStudentKeys.end(), key) != kStudentKeys.end()) continue;
    fail_usage("{}: student.{}: expected one of from_scratch, {}", where("student." + key), key,
               fmt::join(kStudentKeys, ", "));
  }
  if (changes.contains("distill") && changes["distill"].is_object() && changes["distill"].contains("teacher"))
    fail_usage("{}: student.distill.teacher: it is this run's model", where("student.distill.teacher"));
  if (recipe.seed.size() > 1)
    fail_usage("{}: student: each of several seeds would have one; give one seed", where("seed"));
  const Locate inside = [&](std::string_view key) { return where("student." + std::string(key)); };
  const Recipe student = recipe_of(student_values(recipe), "student", inside, recipe.meter);
  if (student.distill.cached() && student.distill.tokens == 0 && student.budget.tokens == 0)
    fail_usage("{}: student.distill.tokens: say how many tokens the teacher is to read", where("student"));
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& name, const std::vector<std::string>& set,
                    const Prices& prices) {
  TomlDocument document = parse_toml(text, name);
  const std::vector<std::string> set_keys = apply_set(
      set,
      [](FieldVisitor& v) {
        Recipe().visit(v);
        Recipe student;
        v.field("student", student, "");
      },
      document.values);
  const Locate where = locate_in(document, name, set_keys);
  Recipe recipe = recipe_of(document.values, name, where, prices);
  check_student(recipe, where);
  return recipe;
}

Recipe student_recipe(const Recipe& recipe) {
  return recipe_of(
      student_values(recipe), "student", [](std::string_view) { return "student"; }, recipe.meter);
}

Recipe scratch_recipe(const Recipe& recipe, double joules) {
  Recipe scratch = student_recipe(recipe);
  scratch.output = (fs::path(recipe.output) / "scratch").string();
  scratch.tokenizer.path = (fs::path(recipe.output) / "model").string();
  scratch.distill = {};
  scratch.tune = {};
  scratch.budget = {};
  scratch.budget.joules = joules;
  return scratch;
}

// The text of a recipe file; a run directory stands for the recipe in it.
static std::pair<std::string, std::string> recipe_text(const fs::path& file) {
  std::error_code error;
  const bool run = fs::is_directory(file, error) && fs::exists(file / "recipe.toml");
  const fs::path path = run ? file / "recipe.toml" : file;
  return {read_file(path), path.string()};
}

Recipe load_recipe(const fs::path& file, const std::vector<std::string>& set, const Prices& prices) {
  const auto [text, name] = recipe_text(file);
  return parse_recipe(text, name, set, prices);
}

namespace {

// The recipe of `frugal tune`: the table [tune] at the top, and what every run has.
struct TuneFile {
  Recipe& recipe;

  void visit(FieldVisitor& v) {
    v.field("schema", recipe.schema, "of this file's layout");
    v.field("output", recipe.output, "run directory; empty: runs/ and the recipe's name");
    v.field("init", recipe.init, "model to tune: a directory in Hugging Face layout, a run, or a .gguf file");
    v.field("seed", recipe.seed,
            "of adapters and the order of the examples; several: a run for each, compared");
    v.field("threads", recipe.threads, "0: as many as this process may use");
    recipe.tune.visit(v);
    v.field("meter", recipe.meter, "");
  }
};

void check_tune_file(const Recipe& recipe) {
  if (recipe.init.empty()) fail_usage("init: name the model to tune");
  check(recipe.tune);
  Recipe rest = recipe;  // schema, seeds, threads, prices are every recipe's
  rest.tune.method.clear();
  rest.budget = recipe.tune.budget;
  check_values(rest);
}

}  // namespace

Recipe parse_tune_recipe(std::string_view text, const std::string& name, const std::vector<std::string>& set,
                         const Prices& prices) {
  TomlDocument document = parse_toml(text, name);
  Recipe recipe;
  recipe.tune_only = true;
  recipe.meter = prices;
  TuneFile file{recipe};
  const std::vector<std::string> set_keys = apply_set(
      set,
      [](FieldVisitor& v) {
        Recipe any;
        TuneFile{any}.visit(v);
      },
      document.values);
  const Locate where = locate_in(document, name, set_keys);
  recipe.tune.method = "sft";
  read_fields(file, document.values, where);
  if (recipe.output.empty()) recipe.output = "runs/" + fs::path(name).stem().string();
  check_located([&] { check_tune_file(recipe); }, document.values, where, name);
  return recipe;
}

Recipe load_tune_recipe(const fs::path& file, const std::vector<std::string>& set, const Prices& prices) {
  const auto [text, name] = recipe_text(file);
  return parse_tune_recipe(text, name, set, prices);
}

std::string tune_recipe_help() {
  Recipe recipe;
  recipe.tune.method = "sft";
  return describe_fields(TuneFile{recipe});
}

Json resolved(const Recipe& recipe) {
  if (recipe.tune_only) {
    Recipe copy = recipe;
    return write_fields(TuneFile{copy});
  }
  Json json = write_fields(recipe);
  const Json overrides = parse_json(recipe.model.overrides, "model");
  for (const auto& [key, value] : overrides.items()) json["model"][key] = value;
  const Json changes = parse_json(recipe.student.changes, "student");
  for (const auto& [key, value] : changes.items()) json["student"][key] = value;
  return json;
}

Json model_config(const Recipe& recipe, int64_t vocab_size, int bos, int eos) {
  Json config = preset_config(recipe.model.preset);
  const Json overrides = parse_json(recipe.model.overrides, "model");
  for (const auto& [key, value] : overrides.items()) config[key] = value;
  config["vocab_size"] = vocab_size;
  if (bos >= 0) config["bos_token_id"] = bos;
  if (eos >= 0) config["eos_token_id"] = eos;
  return config;
}

int64_t wanted_vocabulary(const Recipe& recipe) {
  if (recipe.tokenizer.vocab_size > 0) return recipe.tokenizer.vocab_size;
  const Json overrides = parse_json(recipe.model.overrides, "model");
  const Json config = preset_config(recipe.model.preset);
  const Json& vocab = overrides.contains("vocab_size") ? overrides["vocab_size"] : config["vocab_size"];
  if (!vocab.is_number_integer())
    fail_usage("model.vocab_size: expected a whole number, found {}", to_text(vocab));
  return vocab.get<int64_t>();
}

Prices read_user_prices(const fs::path& config) {
  struct Config {
    Prices meter;
    void visit(FieldVisitor& v) { v.field("meter", meter, "prices"); }
  };
  Config user;
  if (config.empty() || !fs::exists(config)) return user.meter;
  const TomlDocument document = read_toml_file(config);
  read_fields(user, document.values, [&](std::string_view key) {
    const auto line = document.lines.find(std::string(key));
    return line == document.lines.end() ? config.string()
                                        : fmt::format("{}:{}", config.string(), line->second);
  });
  user.meter.check(config.string() + ": meter");
  return user.meter;
}

std::string recipe_help() {
  return describe_fields(Recipe());
}

}  // namespace frugal
