#include "pipeline/pipeline.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/interrupted.h"
#include "meter/meter.h"
#include "pipeline/books.h"
#include "pipeline/report/report.h"
#include "pipeline/stages.h"

namespace frugal {
namespace {

// Keys that may differ from those of the run that is continued: they change neither data nor model.
std::vector<std::string> free_keys(const RunDirectory& directory, const Recipe& recipe) {
  std::vector<std::string> keys = {"output",
                                   "threads",
                                   "student.",  // has a directory of its own
                                   "meter.",
                                   "eval.",
                                   "samples.",
                                   "train.save_",
                                   "train.keep_last",
                                   "train.eval_every",
                                   "train.on_spike",
                                   "train.spike_threshold",
                                   "train.max_rollbacks"};
  const auto is_done = [&](std::string_view stage) {
    const StageRecord* record = directory.find(stage);
    return record != nullptr && record->done;
  };
  if (!is_done(recipe.tune_only ? "tune" : "pretrain")) keys.push_back("budget.");
  if (recipe.tune_only) keys.push_back("evaluations");
  if (directory.find("tune") == nullptr) keys.push_back("tune.");  // added after the training
  for (const char* key : {"budget.", "evaluations", "train.save_", "train.keep_last", "train.eval_every"}) {
    if (!is_done("tune")) keys.push_back(std::string("tune.") + key);
  }
  return keys;
}

// A model was trained here, or part of one, perhaps for several seeds.
bool holds_training(const RunDirectory& directory) {
  if (directory.find("pretrain") != nullptr || directory.find("tune") != nullptr) return true;
  const fs::directory_iterator entries(directory.path());
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    return entry.is_directory() && entry.path().filename().string().starts_with("seed-");
  });
}

void adopt(RunDirectory& directory, const Recipe& recipe) {
  directory.adopt(resolved(recipe), free_keys(directory, recipe), holds_training(directory));
}

// Passes everything on and tells the ledger now and then what was spent.
class Heartbeat : public Observer {
 public:
  Heartbeat(Observer& next, Books& books, Meter& meter) : next_(next), books_(books), meter_(meter) {}
  void stage_begins(std::string_view name, std::string_view help) override { next_.stage_begins(name, help); }
  void stage_ends(std::string_view name, const std::string& summary, const Bill& bill,
                  bool skipped) override {
    next_.stage_ends(name, summary, bill, skipped);
  }
  void progress(const Progress& progress) override {
    next_.progress(progress);
    if (progress.bill.seconds - last_ < 30 && progress.bill.seconds >= last_) return;
    last_ = progress.bill.seconds;
    books_.heartbeat(meter_.total());
  }
  void note(const std::string& text) override { next_.note(text); }
  void warning(const std::string& text) override { next_.warning(text); }

 private:
  Observer& next_;
  Books& books_;
  Meter& meter_;
  double last_ = 0;
};

class Runner {
 public:
  Runner(const Recipe& recipe, const RunSettings& settings)
      : recipe_(recipe),
        meter_(recipe.meter),
        books_(settings.ledger, {settings.verb, settings.recipe_file, recipe.output, recipe.init},
               settings.observer),
        heartbeat_(settings.observer, books_, meter_),
        settings_{settings.ctx,     heartbeat_,     settings.verb,   settings.recipe_file,
                  settings.version, settings.cache, settings.ledger, settings.stop} {}

  RunOutcome run() {
    try {
      const RunOutcome outcome = recipe_.seed.size() == 1 ? single() : sweep();
      books_.finish(RunStatus::done, meter_.total());
      return outcome;
    } catch (const Interrupted&) {
      books_.finish(RunStatus::interrupted, meter_.total());
      throw;
    } catch (const std::exception&) {
      books_.finish(RunStatus::failed, meter_.total());
      throw;
    }
  }

 private:
  RunOutcome single() {
    RunDirectory directory(recipe_.output);
    adopt(directory, recipe_);
    begin_log(directory);
    Run run(recipe_, settings_, directory, directory, recipe_.seed[0]);
    const bool student = recipe_.student.wanted() && settings_.verb == "run";
    std::vector<ReportRun> others;
    try {
      for (const Stage* stage : all_stages()) do_stage(*stage, run, directory);
      if (student) others = follow(directory);
    } catch (const std::exception&) {
      try {
        write_report(directory);  // what there is
      } catch (const Error&) {    // a full disk, perhaps: the first cause is what to tell
      }
      throw;
    }
    write_report(directory, others);
    RunOutcome outcome{
        directory.path(), directory.path() / "report.html", product_of(directory.path()), {}, {}, {}};
    outcome.seeds.push_back(outcome_of(directory, recipe_.seed[0]));
    outcome.bill = outcome.seeds[0].bill;
    for (const ReportRun& other : others) outcome.bill.add(other.total());
    if (student) outcome.models = models_of(read_run(directory.path(), name()), others);
    return outcome;
  }

  // The runs after this one: a student of its model, and one of that shape without a teacher.
  std::vector<ReportRun> follow(RunDirectory& shared) {
    std::vector<ReportRun> done;
    settings_.observer.note("student: a smaller model learns from this one");
    done.push_back(follower(shared, student_recipe(recipe_), "student"));
    if (!recipe_.student.from_scratch) return done;
    double joules = 0;
    for (const StageRecord& stage : done.front().stages) {
      if (stage.name == "teacher" || stage.name == "pretrain") joules += stage.bill.joules.middle();
    }
    settings_.observer.note("scratch: one of its shape without the teacher, on as much energy");
    done.push_back(follower(shared, scratch_recipe(recipe_, joules), "scratch"));
    return done;
  }

  ReportRun follower(RunDirectory& shared, const Recipe& recipe, const std::string& called) {
    RunDirectory directory(recipe.output);
    adopt(directory, recipe);
    begin_log(directory);
    Run run(recipe, settings_, shared, directory, recipe.seed[0]);
    for (const Stage* stage : all_stages()) {
      if (!stage->shared) do_stage(*stage, run, directory, called + "/");
    }
    ReportRun report = read_run(directory.path(), called);
    report.link = called + "/report.html";
    write_file_atomically(directory.path() / "report.html", render_report(report));
    return report;
  }

  RunOutcome sweep() {
    RunDirectory shared(recipe_.output);
    adopt(shared, recipe_);
    begin_log(shared);
    RunOutcome outcome{shared.path(), shared.path() / "report.html", {}, {}, {}, {}};
    Run common(recipe_, settings_, shared, shared, recipe_.seed[0]);
    for (const Stage* stage : all_stages()) {
      if (stage->shared) do_stage(*stage, common, shared);
    }
    for (const StageRecord& record : shared.stages()) outcome.bill.add(record.bill);
    for (const int64_t seed : recipe_.seed) {
      settings_.observer.note(fmt::format("seed {}", seed));
      outcome.seeds.push_back(one_of_sweep(shared, seed));
      outcome.bill.add(outcome.seeds.back().bill);
      write_sweep_report(shared, outcome);
    }
    outcome.model = product_of(outcome.seeds.front().output);
    return outcome;
  }

  SeedOutcome one_of_sweep(RunDirectory& shared, int64_t seed) {
    Recipe recipe = recipe_;
    recipe.seed = {seed};
    recipe.output = (shared.path() / fmt::format("seed-{}", seed)).string();
    RunDirectory directory(recipe.output);
    adopt(directory, recipe);
    begin_log(directory);
    Run run(recipe, settings_, shared, directory, seed);
    for (const Stage* stage : all_stages()) {
      if (!stage->shared) do_stage(*stage, run, directory);
    }
    ReportRun report = read_run(directory.path(), fmt::format("{}, seed {}", name(), seed));
    report.stages.insert(report.stages.begin(), shared.stages().begin(), shared.stages().end());
    write_file_atomically(directory.path() / "report.html", render_report(report));
    return outcome_of(directory, seed);
  }

  // Where what the run made lies.
  fs::path product_of(const fs::path& output) const {
    if (recipe_.tune.method.empty() || settings_.verb == "train") return output / "model";
    return (recipe_.tune_only ? output : output / "tune") /
           (recipe_.tune.whole_model() ? "model" : "adapter");
  }

  // `before` stands before the stage's name in the ledger.
  void do_stage(const Stage& stage, Run& run, RunDirectory& directory, const std::string& before = "") {
    if (!stage.wanted(run)) return;
    run.check_stop();
    const std::string inputs = stage.inputs(run);
    const StageRecord* known = directory.find(stage.name);
    if (known != nullptr && known->done && known->inputs == inputs) {
      settings_.observer.stage_ends(stage.name, stage.summary(known->result), known->bill, true);
      return;
    }
    if (known != nullptr && known->inputs != inputs && stage.precious) {
      fail(
          "output '{}': the data, tokenizer or starting model has changed since its stage '{}' began; choose "
          "another "
          "output, or remove that folder",
          directory.path().string(), stage.name);
    }
    work_on(stage, run, directory, inputs, before);
  }

  void work_on(const Stage& stage, Run& run, RunDirectory& directory, const std::string& inputs,
               const std::string& before) {
    const StageRecord* known = directory.find(stage.name);
    run.record = StageRecord(std::string(stage.name), inputs);
    if (known != nullptr && known->inputs == inputs) {  // begun before: goes on, and on its bill
      run.record.bill = known->bill;
      run.record.result = known->result;
    }
    settings_.observer.stage_begins(stage.name, stage.help);
    books_.begin(before + std::string(stage.name));
    const Meter::Stage metered = meter_.start(std::string(stage.name));
    run.meter = &meter_;
    run.stage = &metered;
    run.books = &books_;
    try {
      run.record.result = stage.work(run);
    } catch (const std::exception& error) {
      run.stage = nullptr;
      const bool stopped = dynamic_cast<const Interrupted*>(&error) != nullptr;
      books_.end(stopped ? RunStatus::interrupted : RunStatus::failed, metered.bill(), meter_.total());
      throw;
    }
    run.stage = nullptr;
    const Bill bill = metered.bill();
    run.record.bill.add(bill);
    run.record.done = true;
    directory.put(run.record);
    directory.log({{"event", "stage"}, {"name", stage.name}, {"bill", bill_json(run.record.bill)}});
    books_.end(RunStatus::done, bill, meter_.total());
    settings_.observer.stage_ends(stage.name, stage.summary(run.record.result), run.record.bill, false);
  }

  void begin_log(RunDirectory& directory) const {
    const auto now =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    directory.log({{"event", "start"},
                   {"time", now},
                   {"version", settings_.version},
                   {"threads", settings_.ctx.pool.size()},
                   {"energy", meter_.energy_description()}});
  }

  std::string name() const { return fs::path(recipe_.output).filename().string(); }

  void write_report(const RunDirectory& directory, const std::vector<ReportRun>& others = {}) const {
    if (directory.stages().empty()) return;
    write_file_atomically(directory.path() / "report.html",
                          render_report(read_run(directory.path(), name()), others));
  }

  void write_sweep_report(const RunDirectory& shared, const RunOutcome& outcome) const {
    std::vector<ReportRun> runs;
    for (const SeedOutcome& seed : outcome.seeds) {
      runs.push_back(read_run(seed.output, fmt::format("seed {}", seed.seed)));
      runs.back().link = (seed.output.filename() / "report.html").string();
    }
    write_file_atomically(shared.path() / "report.html", render_sweep(name(), shared.stages(), runs));
  }

  static SeedOutcome outcome_of(const RunDirectory& directory, int64_t seed) {
    SeedOutcome outcome;
    outcome.seed = seed;
    outcome.output = directory.path();
    for (const StageRecord& record : directory.stages()) outcome.bill.add(record.bill);
    outcome.share = cache_share(directory.stages());
    if (const StageRecord* pretrain = directory.find("pretrain")) {
      outcome.tokens = pretrain->result.value("tokens", int64_t{0});
      if (pretrain->result.contains("validation")) {
        outcome.bits_per_byte = pretrain->result["validation"].value("bits_per_byte", 0.0);
      }
    }
    if (const StageRecord* tune = directory.find("tune")) {
      outcome.tokens += tune->result.value("tokens", int64_t{0});
      if (tune->result.contains("validation")) {
        outcome.validation = tune->result["validation"].value("value", 0.0);
        const Json before = tune->result["validation"].value("before", Json());
        if (before.is_number()) outcome.before = before.get<double>();
        outcome.measured = tune->result["validation"].value("measured", std::string());
      }
    }
    const StageRecord* evaluate = directory.find("evaluate");
    if (evaluate != nullptr && evaluate->result.contains("questions")) {
      const Json& questions = evaluate->result["questions"];
      outcome.questions_correct =
          questions.value("correct", 0.0) / std::max(1.0, questions.value("total", 0.0));
    }
    return outcome;
  }

  const Recipe& recipe_;
  Meter meter_;
  Books books_;
  Heartbeat heartbeat_;
  RunSettings settings_;
};

Json spread_json(const Spread& spread) {
  return {{"mean", spread.mean}, {"sd", spread.sd}};
}

}  // namespace

std::optional<Bill> RunOutcome::charged() const {
  std::optional<Bill> out;
  for (const SeedOutcome& seed : seeds) {
    if (seed.share) out = frugal::charged(out ? *out : bill, *seed.share);
  }
  return out;
}

RunOutcome run_recipe(const Recipe& recipe, const RunSettings& settings) {
  return Runner(recipe, settings).run();
}

Json outcome_json(const RunOutcome& outcome) {
  int64_t tokens = 0;
  std::vector<double> bits, correct, before, tuned;
  Json seeds = Json::array();
  for (const SeedOutcome& seed : outcome.seeds) {
    tokens += seed.tokens;
    if (seed.bits_per_byte) bits.push_back(*seed.bits_per_byte);
    if (seed.before) before.push_back(*seed.before);
    if (seed.validation) tuned.push_back(*seed.validation);
    if (seed.questions_correct) correct.push_back(*seed.questions_correct);
    seeds.push_back({{"seed", seed.seed},
                     {"output", seed.output.string()},
                     {"tokens", seed.tokens},
                     {"seconds", seed.bill.seconds},
                     {"val_bits_per_byte", seed.bits_per_byte ? Json(*seed.bits_per_byte) : Json()},
                     {"val_before", seed.before ? Json(*seed.before) : Json()},
                     {"val_tuned", seed.validation ? Json(*seed.validation) : Json()},
                     {"questions_correct", seed.questions_correct ? Json(*seed.questions_correct) : Json()},
                     {"dollars", seed.bill.dollars}});
  }
  const Joules& joules = outcome.bill.joules;
  Json json = {{"tokens", tokens},
               {"seconds", outcome.bill.seconds},
               {"val_bits_per_byte", bits.empty() ? Json() : Json(spread_of(bits).mean)},
               {"val_before", before.empty() ? Json() : Json(spread_of(before).mean)},
               {"val_tuned", tuned.empty() ? Json() : Json(spread_of(tuned).mean)},
               {"joules", {{"low", joules.low}, {"high", joules.high}, {"measured", joules.measured}}},
               {"dollars", outcome.bill.dollars},
               {"co2_g", outcome.bill.co2_g},
               {"questions_correct", correct.empty() ? Json() : Json(spread_of(correct).mean)},
               {"output", outcome.output.string()},
               {"model", outcome.model.string()},
               {"report", outcome.report.string()}};
  if (const auto charged = outcome.charged()) {
    json["charged"] = {
        {"joules", write_fields(charged->joules)}, {"dollars", charged->dollars}, {"co2_g", charged->co2_g}};
  }
  for (const ModelFigures& figures : outcome.models) json["models"].push_back(figures_json(figures));
  if (outcome.seeds.size() > 1) {
    json["seeds"] = std::move(seeds);
    json["spread"] = {{"val_bits_per_byte", spread_json(spread_of(bits))},
                      {"questions_correct", spread_json(spread_of(correct))}};
  }
  return json;
}

}  // namespace frugal
