#include "pipeline/recipe.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/thread_pool.h"
#include "core/utf8.h"
#include "data/source.h"
#include "models/model.h"
#include "pipeline/run_directory.h"
#include "pipeline/toml.h"

namespace frugal {
namespace {

constexpr int64_t kMostQuestions = 100'000;

// Which keys take text, so that `--set output=runs/a` needs no quotes.
class TextKeys : public FieldVisitor {
 public:
  std::map<std::string, bool, std::less<>> keys;  // true: a list
  void field(std::string_view, bool&, std::string_view) override {}
  void field(std::string_view, int64_t&, std::string_view) override {}
  void field(std::string_view, double&, std::string_view) override {}
  void field(std::string_view name, std::string&, std::string_view) override {
    keys[path_ + std::string(name)] = false;
  }
  void field(std::string_view name, std::vector<std::string>&, std::string_view) override {
    keys[path_ + std::string(name)] = true;
  }
  void field(std::string_view, std::vector<int64_t>&, std::string_view) override {}
  void field(std::string_view, std::vector<double>&, std::string_view) override {}

 protected:
  bool begin(std::string_view name, std::string_view) override {
    lengths_.push_back(path_.size());
    path_ += std::string(name) + ".";
    return true;
  }
  void end() override {
    path_.resize(lengths_.back());
    lengths_.pop_back();
  }
  Presence optional_field(std::string_view, bool) override { return Presence::present; }

 private:
  std::string path_;
  std::vector<size_t> lengths_;
};

Json value_of_set(const std::string& key, const std::string& text) {
  Recipe recipe;
  TextKeys text_keys;
  recipe.visit(text_keys);
  const auto known = text_keys.keys.find(key);
  const std::string where = "--set " + key;
  if (known == text_keys.keys.end()) return parse_toml_value(text, where);
  const bool quoted = text.starts_with('"') || text.starts_with('\'');
  const bool list = known->second && text.starts_with('[');
  return quoted || list ? parse_toml_value(text, where) : Json(text);
}

// Puts each "key=value" into `values` and returns the keys.
std::vector<std::string> apply(const std::vector<std::string>& set, Json& values) {
  std::vector<std::string> keys;
  for (const std::string& item : set) {
    if (const size_t sound = valid_utf8_prefix(item); sound != item.size()) {
      fail_usage("--set {}: byte {} is not UTF-8", item.substr(0, sound), sound + 1);
    }
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0) {
      fail_usage("--set {}: expected key=value, as in --set budget.minutes=20", item);
    }
    const std::string key = item.substr(0, equals);
    Json* table = &values;
    for (size_t begin = 0;;) {
      const size_t dot = key.find('.', begin);
      const std::string part = key.substr(begin, dot - begin);
      if (part.empty()) fail_usage("--set {}: an empty part in '{}'", item, key);
      if (dot == std::string::npos) {
        (*table)[part] = value_of_set(key, item.substr(equals + 1));
        break;
      }
      table = &(*table)[part];
      if (table->is_null()) *table = Json::object();
      if (!table->is_object()) fail_usage("--set {}: '{}' is not a table", item, key.substr(0, dot));
      begin = dot + 1;
    }
    keys.push_back(key);
  }
  return keys;
}

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
  recipe.meter.check("meter");
}

// Checks of values know keys, not lines; the message begins with the key (or "table.key" or "table: ...").
void check_located(const Recipe& recipe, const Json& values, const Locate& where, const std::string& name) {
  try {
    check_values(recipe);
  } catch (const UsageError& error) {
    const std::string message = error.what();
    std::string best;
    for (const auto& [key, value] : flatten(values)) {
      if (message.starts_with(key) && key.size() > best.size()) best = key;
    }
    for (const auto& [key, value] : values.items()) {
      if (best.empty() && message.starts_with(key)) best = key;
    }
    throw UsageError(fmt::format("{}: {}", best.empty() ? name : where(best), message));
  }
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& name, const std::vector<std::string>& set,
                    const Prices& prices) {
  TomlDocument document = parse_toml(text, name);
  const std::vector<std::string> set_keys = apply(set, document.values);
  const Locate where = [&](std::string_view key) {
    for (const std::string& set_key : set_keys) {
      if (key == set_key || set_key.starts_with(std::string(key) + ".")) return "--set " + set_key;
    }
    const auto line = document.lines.find(std::string(key));
    return line == document.lines.end() ? name : fmt::format("{}:{}", name, line->second);
  };
  Recipe recipe;
  recipe.meter = prices;
  const Json all = document.values;
  recipe.model.overrides = to_text(take_overrides(document.values));
  read_fields(recipe, document.values, where);
  if (recipe.output.empty()) recipe.output = "runs/" + fs::path(name).stem().string();
  check_located(recipe, all, where, name);
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

Recipe load_recipe(const fs::path& file, const std::vector<std::string>& set, const Prices& prices) {
  std::error_code error;
  if (fs::is_directory(file, error) && fs::exists(file / "recipe.toml")) {
    return load_recipe(file / "recipe.toml", set, prices);  // a run directory stands for the recipe in it
  }
  return parse_recipe(read_file(file), file.string(), set, prices);
}

Json resolved(const Recipe& recipe) {
  Json json = write_fields(recipe);
  const Json overrides = parse_json(recipe.model.overrides, "model");
  for (const auto& [key, value] : overrides.items()) json["model"][key] = value;
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
