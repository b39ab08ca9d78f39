// Recipes: what is read, what is refused and where the message points.
#include "pipeline/recipe.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "pipeline/ask.h"
#include "pipeline/toml.h"

namespace frugal {
namespace {

constexpr const char* kSmall = R"(
[budget]
tokens = 1e6

[model]
preset = "nano"
hidden_size = 64

[train]
batch = 4
optimizer = { name = "muon", lr = 0.01 }
)";

std::string error_of(const std::string& text, const std::vector<std::string>& set = {}) {
  try {
    parse_recipe(text, "r.toml", set);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Recipe, ReadsTablesAndFillsTheRestFromDefaults) {
  const Recipe recipe = parse_recipe(kSmall, "dir/r.toml", {});
  EXPECT_EQ(recipe.budget.tokens, 1000000);
  EXPECT_EQ(recipe.train.batch, 4);
  EXPECT_EQ(recipe.train.optimizer.name, "muon");
  EXPECT_EQ(recipe.train.optimizer.lr, 0.01);
  EXPECT_EQ(recipe.output, "runs/r");
  EXPECT_TRUE(recipe.data.is_synthetic());
  const Json config = model_config(recipe, 777, 0, 1);
  EXPECT_EQ(config["hidden_size"], 64);
  EXPECT_EQ(config["vocab_size"], 777);
  EXPECT_EQ(config["eos_token_id"], 1);
}

TEST(Recipe, SetOverridesAndNeedsNoQuotesForText) {
  const Recipe recipe =
      parse_recipe(kSmall, "r.toml",
                   {"data.train=some dir/*.txt", "output=2024", "seed=[1, 2]", "budget.minutes=0.5",
                    "train.optimizer.lr=1e-4", "model.num_hidden_layers=3", "data.weights=[]",
                    "data.valid=[\"a.txt\", \"b.txt\"]"});
  EXPECT_EQ(recipe.data.train, std::vector<std::string>{"some dir/*.txt"});
  EXPECT_EQ(recipe.data.valid, (std::vector<std::string>{"a.txt", "b.txt"}));
  EXPECT_EQ(recipe.output, "2024");
  EXPECT_EQ(recipe.seed, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(recipe.budget.minutes, 0.5);
  EXPECT_EQ(recipe.train.optimizer.lr, 1e-4);
  EXPECT_EQ(recipe.train.optimizer.name, "muon");
  EXPECT_EQ(model_config(recipe, 300, 0, 1)["num_hidden_layers"], 3);
}

TEST(Recipe, ResolvedRecipeReadsBackEqual) {
  const Recipe recipe =
      parse_recipe(kSmall, "r.toml", {"meter.price_per_hour=0.1", "samples.prompts=[\"a\\nb \\\"c\\\"\"]"});
  const Json json = resolved(recipe);
  const Recipe again = parse_recipe(to_toml(json), "other.toml", {});
  EXPECT_EQ(resolved(again), json);
  EXPECT_EQ(again.output, "runs/r");
  EXPECT_EQ(again.samples.prompts, std::vector<std::string>{"a\nb \"c\""});
}

struct Bad {
  const char* what;
  std::string text;
  std::vector<std::string> set;
  std::vector<const char*> says;  // all of these
};

class BadRecipe : public testing::TestWithParam<Bad> {};

TEST_P(BadRecipe, SaysWhatAndWhere) {
  const std::string message = error_of(GetParam().text, GetParam().set);
  for (const char* part : GetParam().says) EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadRecipe,
    testing::Values(
        Bad{"key",
            "[budget]\nminutes = 1\n[train]\nbacth = 3\n",
            {},
            {"r.toml:4", "train.bacth", "train.batch"}},
        Bad{"table", "[budgte]\nminutes = 1\n", {}, {"r.toml:1", "budgte", "'budget'"}},
        Bad{"type", "[budget]\nminutes = \"long\"\n", {}, {"r.toml:2", "budget.minutes", "a number"}},
        Bad{"toml", "[budget\nminutes = 1\n", {}, {"r.toml:1"}},
        Bad{"bracket", "[budget]\nminutes = 1\n[=\n", {}, {"r.toml:3", "saw '='"}},
        Bad{"brace", "[budget]\nminutes = [}\n", {}, {"r.toml:2", "value type"}},
        Bad{"letter", "[budget]\nm\xc8\x9c = 1\n", {}, {"r.toml:2"}},
        Bad{"twice", "[budget]\nminutes = 1\nminutes = 2\n", {}, {"r.toml:3"}},
        Bad{"date", "[budget]\nminutes = 2024-01-01\n", {}, {"r.toml:2", "date"}},
        Bad{"nan", "[budget]\nminutes = nan\n", {}, {"r.toml:2", "not finite"}},
        Bad{"setutf8", kSmall, {"output=a\xff"}, {"--set output=a: byte 9 is not UTF-8"}},
        Bad{"vocabularies",
            kSmall,
            {"model.vocab_size=500", "tokenizer.vocab_size=400"},
            {"--set model.vocab_size", "set one of them"}},
        Bad{"setnan", kSmall, {"budget.minutes=nan"}, {"--set budget.minutes: the value is", "not finite"}},
        Bad{"no budget", "", {}, {"r.toml", "budget.minutes"}},
        Bad{"negative", "[budget]\nminutes = -1\n", {}, {"r.toml:2", "budget.minutes"}},
        Bad{"set key", kSmall, {"train.bacth=3"}, {"--set train.bacth", "train.batch"}},
        Bad{"set form", kSmall, {"train.batch"}, {"--set train.batch", "key=value"}},
        Bad{"set value", kSmall, {"train.batch=many"}, {"--set train.batch", "many"}},
        Bad{"set table", kSmall, {"train.batch.size=1"}, {"'train.batch' is not a table"}},
        Bad{"set empty part", kSmall, {"train..batch=1"}, {"empty part"}},
        Bad{"threads", kSmall, {"threads=-1"}, {"--set threads", "threads = -1"}},
        Bad{"threads", kSmall, {"threads=100000"}, {"threads = 100000"}},
        Bad{"batch", kSmall, {"train.batch=0"}, {"--set train.batch", "train.batch = 0"}},
        Bad{"lr", kSmall, {"train.optimizer.lr=-1"}, {"--set train.optimizer.lr", "expected"}},
        Bad{"optimizer", kSmall, {"train.optimizer.name=moun"}, {"--set train.optimizer.name", "muon"}},
        Bad{"schedule", kSmall, {"train.schedule.name=x"}, {"train.schedule.name", "wsd"}},
        Bad{"seed", kSmall, {"seed=[]"}, {"seed"}},
        Bad{"seed twice", kSmall, {"seed=[1, 1]"}, {"stands twice"}},
        Bad{"preset", kSmall, {"model.preset=nona"}, {"--set model.preset", "nano"}},
        Bad{"model key", kSmall, {"model.hiden_size=3"}, {"--set model.hiden_size", "model.hidden_size"}},
        Bad{"model dimension", kSmall, {"model.hidden_size=0"}, {"hidden_size"}},
        Bad{"model dimension", kSmall, {"model.num_experts_per_tok=100"}, {"num_experts_per_tok"}},
        Bad{"model type", kSmall, {"model.hidden_size=wide"}, {"wide"}},
        Bad{"rope", kSmall, {"model.qk_rope_head_dim=7"}, {"qk_rope_head_dim"}},
        Bad{"data", kSmall, {"data.train=[]"}, {"--set data.train", "name files"}},
        Bad{"data", kSmall, {"data.train=[\"synthetic\", \"a.txt\"]"}, {"stands alone"}},
        Bad{"utf8", kSmall, {"data.invalid_utf8=drop"}, {"data.invalid_utf8", "replace"}},
        Bad{"schema", "schema = 9\n[budget]\nsteps = 1\n", {}, {"r.toml:1", "schema = 9"}},
        Bad{"price", kSmall, {"meter.price_per_hour=-1"}, {"price_per_hour"}}));

TEST(Recipe, MissingFileAndInvalidUtf8) {
  EXPECT_THROW(load_recipe("/nonexistent/r.toml", {}), Error);
  EXPECT_NE(error_of("output = \"\xff\"\n").find("r.toml:1"), std::string::npos);
}

TEST(Recipe, EveryKeyIsInTheHelp) {
  const std::string help = recipe_help();
  for (const char* key :
       {"data.train", "data.valid", "budget.minutes", "budget.joules", "output", "init", "seed", "threads",
        "train.optimizer.lr", "meter.price_per_kwh", "data.synthetic.questions"}) {
    EXPECT_NE(help.find(key), std::string::npos) << key;
  }
}

// docs/recipes.md lists every key of the struct; docs/tuning.md those of [tune], as they stand in recipes of
// tune.
TEST(Recipe, EveryKeyIsInTheDocumentation) {
  const std::string recipes = read_file(fs::path(FRUGAL_SOURCE_DIR) / "docs" / "recipes.md");
  const std::string tuning = read_file(fs::path(FRUGAL_SOURCE_DIR) / "docs" / "tuning.md");
  std::istringstream lines(recipe_help());
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    const bool tune = key.starts_with("tune.");
    if (tune) key.erase(0, 5);
    EXPECT_NE((tune ? tuning : recipes).find("`" + key + "`"), std::string::npos) << key;
  }
}

TEST(Recipe, EveryKeyOfAskingIsInTheDocumentation) {
  const std::string page = read_file(fs::path(FRUGAL_SOURCE_DIR) / "docs" / "distillation.md");
  std::istringstream lines(ask_recipe_help());
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key.starts_with("meter.")) continue;  // docs/recipes.md has them
    EXPECT_NE(page.find("`" + key + "`"), std::string::npos) << key;
  }
}

TEST(Recipe, RecipesOfTheProjectAreSound) {
  for (const auto& entry : fs::directory_iterator(fs::path(FRUGAL_SOURCE_DIR) / "recipes")) {
    std::vector<std::string> set;
    if (entry.path().stem() == "text") set.push_back("data.train=a.txt");
    const std::string text = read_file(entry.path());
    if (text.find("\nendpoint = ") != std::string::npos) {
      EXPECT_NO_THROW(load_ask_recipe(entry.path(), {"licence=as the terms say"})) << entry.path();
      continue;
    }
    const bool tunes = text.find("\nmethod = ") < text.find("\n[");  // at the top
    EXPECT_NO_THROW(tunes ? load_tune_recipe(entry.path(), set) : load_recipe(entry.path(), set))
        << entry.path();
  }
}

constexpr const char* kWithStudent = R"(
output = "runs/big"
init = "some/model"
[budget]
minutes = 2
[train]
batch = 4
context = 64
[tune]
method = "sft"
data.train = "synthetic"
budget.steps = 3
[student]
from_scratch = true
model = { hidden_size = 64 }
budget = { steps = 50 }
train = { context = 32 }
distill = { tokens = 1000, draws = 20 }
)";

TEST(StudentRecipe, IsTheSameRecipeWithItsOwnKeys) {
  const Recipe recipe = parse_recipe(kWithStudent, "r.toml", {"student.train.optimizer.name=muon"});
  EXPECT_TRUE(recipe.student.wanted());
  const Recipe student = student_recipe(recipe);
  EXPECT_EQ(student.output, "runs/big/student");
  EXPECT_EQ(student.distill.teacher, "runs/big");
  EXPECT_EQ(student.distill.draws, 20);
  EXPECT_EQ(student.budget.steps, 50);
  EXPECT_EQ(student.budget.minutes, 0);  // the whole budget is its own
  EXPECT_EQ(student.train.context, 32);
  EXPECT_EQ(student.train.batch, 4);
  EXPECT_EQ(student.train.optimizer.name, "muon");
  EXPECT_EQ(student.init, "");
  EXPECT_EQ(student.tune.method, "");
  EXPECT_FALSE(student.student.wanted());
  EXPECT_EQ(model_config(student, 300, 0, 1)["hidden_size"], 64);
  const Recipe scratch = scratch_recipe(recipe, 12.5);
  EXPECT_EQ(scratch.output, "runs/big/scratch");
  EXPECT_FALSE(scratch.distill.wanted());
  EXPECT_EQ(scratch.budget.joules, 12.5);
  EXPECT_EQ(scratch.budget.steps, 0);
  EXPECT_EQ(model_config(scratch, 300, 0, 1), model_config(student, 300, 0, 1));
  const Recipe again = parse_recipe(to_toml(resolved(recipe)), "other.toml", {});
  EXPECT_EQ(resolved(again), resolved(recipe));
  EXPECT_EQ(resolved(student_recipe(again)), resolved(student));
}

TEST(StudentRecipe, MistakesNameKeyAndPlace) {
  const auto with = [](const std::string& lines) { return "[budget]\nsteps = 3\n[student]\n" + lines; };
  EXPECT_EQ(error_of(with("from_scratch = true\n")),
            "r.toml:4: student.from_scratch: there is no student: give it a model and a budget");
  for (const auto& [lines, expected] : {
           std::pair{"data.train = [\"a\"]\n", "student.data: expected one of from_scratch, init, model"},
           std::pair{"distill.teacher = \"x\"\n", "student.distill.teacher: it is this run's model"},
           std::pair{"train.batch = 4\n", "student.distill.tokens: say how many"},
           std::pair{"distill.tokens = 9\ntrain.bacth = 4\n", "r.toml:5"},
           std::pair{"distill.tokens = 9\nmodel.hiden_size = 4\n", "'model.hidden_size'"},
           std::pair{"distill.tokens = 9\nmodel.hidden_size = 0\n", "hidden_size"},
           std::pair{"distill.tokens = 9\nbudget.steps = -1\n", "r.toml:5"},
           std::pair{"tune.method = \"sfd\"\ndistill.tokens = 9\n", "tune.method = 'sfd'"},
       }) {
    EXPECT_NE(error_of(with(lines)).find(expected), std::string::npos) << error_of(with(lines));
  }
  EXPECT_NE(error_of("seed = [1, 2]\n" + with("distill.tokens = 9\n")).find("give one seed"),
            std::string::npos);
  EXPECT_NE(error_of("data.train = [\"a.txt\"]\n[budget]\nsteps = 3\n[tune]\nmethod = \"sft\"\ndata.train = "
                     "\"synthetic\"\nbudget.steps = 2\n")
                .find("practice questions"),
            std::string::npos);
}

constexpr const char* kTune = "init = \"m\"\n[data]\ntrain = [\"a.jsonl\"]\n[budget]\nsteps = 5\n";

TEST(TuneRecipe, StandsAtTheTopOrInATableOfItsOwn) {
  const Recipe alone = parse_tune_recipe(std::string(kTune) + "[adapter]\nkind = \"dora\"\nrank = 4\n",
                                         "x/t.toml", {"train.optimizer.lr=1e-3", "data.turns=last"});
  EXPECT_TRUE(alone.tune_only);
  EXPECT_EQ(alone.tune.method, "sft");
  EXPECT_EQ(alone.tune.adapter.kind, "dora");
  EXPECT_EQ(alone.tune.train.optimizer.lr, 1e-3);
  EXPECT_EQ(alone.tune.data.turns, "last");
  EXPECT_EQ(alone.output, "runs/t");
  const Recipe again = parse_tune_recipe(to_toml(resolved(alone)), "r.toml", {});
  EXPECT_EQ(resolved(again), resolved(alone));
  const Recipe whole = parse_recipe(
      "[budget]\nsteps = 3\n[tune]\nmethod = \"sft\"\ndata.train = [\"a.jsonl\"]\nbudget.steps = 2\n",
      "r.toml", {});
  EXPECT_EQ(whole.tune.budget.steps, 2);
  EXPECT_EQ(whole.tune.adapter.rank, 8);
  EXPECT_TRUE(parse_recipe("[budget]\nsteps = 3\n", "r.toml", {}).tune.method.empty());
}

TEST(TuneRecipe, MistakesNameKeyAndPlace) {
  const std::pair<std::string, const char*> cases[] = {
      {"method = \"sfd\"\n", "method = 'sfd': expected one of sft"},
      {"[adapter]\nrank = 0\n", "adapter.rank = 0"},
      {"[adapter]\nrnk = 3\n", "adapter.rank"},
      {"[train]\nmtp_lambda = 0.3\n", "train.mtp_lambda"},
      {"[train]\nbalance_alpha = 0.3\n", "an adapter leaves the model as it is"},
      {"evaluations = -1\n", "evaluations = -1"},
      {"seed = []\n", "seed = []"},
  };
  for (const auto& [text, expected] : cases) {
    const bool top = !text.starts_with('[');
    try {
      parse_tune_recipe(top ? text + kTune : kTune + text, "t.toml", {});
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
      EXPECT_TRUE(std::string(error.what()).starts_with("t.toml:")) << error.what();
    }
  }
  EXPECT_THROW(parse_tune_recipe("[data]\ntrain = [\"a\"]\n[budget]\nsteps = 1\n", "t.toml", {}), UsageError);
  EXPECT_THROW(parse_tune_recipe("init = \"m\"\n[budget]\nsteps = 1\n", "t.toml", {}), UsageError);
  EXPECT_THROW(parse_recipe("[budget]\nsteps = 3\n[tune]\nmethod = \"sft\"\n", "r.toml", {}), UsageError);
}

TEST(UserPrices, AreReadAndRecipesOverrideThem) {
  const fs::path file = fs::temp_directory_path() / "frugal_prices_test.toml";
  std::ofstream(file) << "[meter]\nprice_per_hour = 0.5\ncountry = \"FRA\"\n";
  const Prices prices = read_user_prices(file);
  const Recipe recipe = parse_recipe(kSmall, "r.toml", {"meter.country=DEU"}, prices);
  EXPECT_EQ(recipe.meter.price_per_hour, 0.5);
  EXPECT_EQ(recipe.meter.country, "DEU");
  std::ofstream(file) << "[meter]\nprice_per_houre = 0.5\n";
  EXPECT_THROW(read_user_prices(file), UsageError);
  fs::remove(file);
  EXPECT_FALSE(read_user_prices(file).price_per_hour.has_value());
}

TEST(Toml, WritesWhatItReads) {
  const char* text =
      "a = 1\nb = 2.0\nc = \"x\\ny\"\nlist = [1, 2]\n\n[t]\nx = true\n\n[t.\"odd key\"]\ny = \"é\"\n";
  EXPECT_EQ(to_toml(parse_toml(text, "t").values), text);
}

}  // namespace
}  // namespace frugal
