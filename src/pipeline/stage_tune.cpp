// Tuning: a model, trained just now or given, taught by examples, as a whole or through adapters beside it.
#include <fmt/core.h>

#include <cmath>

#include "core/error.h"
#include "core/interrupted.h"
#include "core/rng.h"
#include "data/source.h"
#include "io/gguf_model.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "io/peft.h"
#include "kernels/kernels.h"
#include "meter/machine.h"
#include "pipeline/stages.h"
#include "pipeline/training.h"
#include "train/preflight.h"
#include "train/trainer.h"
#include "tune/method.h"

namespace frugal {
namespace {

// What is tuned: `init` of frugal tune, or the model that this run has trained.
fs::path base_of(const Run& run) {
  return run.recipe.tune_only ? find_model(run.recipe.init) : run.directory.path() / "model";
}

// frugal tune works in the run directory itself; a run that trains first has its model there already.
fs::path output_of(const Run& run) {
  return run.recipe.tune_only ? run.directory.path() : run.directory.path() / "tune";
}

// The weights a run begins with: their file's size and time say enough, reading gigabytes would not pay.
std::string identity_of(const fs::path& base) {
  std::vector<fs::path> files;
  if (fs::is_directory(base)) {
    for (const auto& entry : fs::directory_iterator(base)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
  } else {
    files = {base};
  }
  std::string text;
  for (const fs::path& file : files) {
    if (!fs::is_regular_file(file)) continue;
    text += fmt::format("{} {} {}\n", file.filename().string(), fs::file_size(file),
                        fs::last_write_time(file).time_since_epoch().count());
  }
  return text;
}

std::string inputs(Run& run) {
  const TuneOptions options = run.tune_options();
  Json json = write_fields(options);
  json.erase("budget");
  json.erase("evaluations");
  for (const char* key : {"save_every", "save_minutes", "keep_last", "eval_every", "on_spike",
                          "spike_threshold", "max_rollbacks"}) {
    json["train"].erase(key);
  }
  std::vector<std::string> files = expand_patterns(options.data.train, "data.train");
  if (!options.data.valid.empty()) {
    for (std::string& file : expand_patterns(options.data.valid, "data.valid"))
      files.push_back(std::move(file));
  }
  return hash_of({to_text(json), hash_files(files), identity_of(base_of(run)), std::to_string(run.seed)});
}

// Weights of matrix products that meet a token, by what they are.
struct ProductWeights {
  double blocks = 0, head = 0, adapters = 0;
};

ProductWeights product_weights(Model& model) {
  ProductWeights weights;
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    const bool product = info.role == Role::matrix || info.role == Role::expert || info.role == Role::router;
    if (info.mtp || !product) return;
    weights.blocks += static_cast<double>(value.size()) * info.activity;
    if (const LowRank* l = value.low_rank()) {
      weights.adapters += static_cast<double>(l->a.size() + l->b.size()) * info.activity;
    }
  });
  model.visit(each);
  weights.head = static_cast<double>(model.head().size());
  return weights;
}

class Tuning {
 public:
  explicit Tuning(Run& run)
      : run_(run),
        ctx_(run.settings.ctx),
        options_(run.tune_options()),
        train_(options_.train),
        base_(base_of(run)),
        tokenizer_(load_tokenizer(base_)),
        log_(run.directory, "validation", "tune_"),
        keeper_(run) {
    train_.evaluations = options_.evaluations;
    task_ = find_tune_method(options_.method)
                .create({.ctx = ctx_,
                         .tokenizer = tokenizer_,
                         .options = options_,
                         .seed = static_cast<uint64_t>(run.seed),
                         .note = [&run](const std::string& text) { run.settings.observer.note(text); },
                         .folder = output_of(run),
                         .model_key = identity_of(base_),
                         .stop_ids = stop_ids(),
                         .open = [this] { return load_model(ctx_, base_, Weights::mapped_hf); },
                         .check_stop = [&run] { run.check_stop(); }});
    if (tokenizer_.vocab_size() > declare_model(base_)->shape().vocab_size) {
      fail("{}: the tokenizer has more ids than the model has embeddings", base_.string());
    }
  }

  Json work() {
    if (is_adapter(base_)) {
      fail("{} is an adapter: merge it first (frugal convert {} DIR), then tune the result", base_.string(),
           base_.string());
    }
    options_.whole_model() ? open_whole() : open_adapted();
    objective_ = with_dropout(task_->objective());
    flops_ = product_weights(*model_);
    make_directories(output_of(run_));
    task_->begin(*model_);
    return train();
  }

 private:
  // What ends a reply, as the model's files say.
  std::vector<int32_t> stop_ids() const {
    std::vector<int32_t> ids;
    for (const int64_t id : read_generation_config(base_).eos_token_id)
      ids.push_back(static_cast<int32_t>(id));
    if (const auto eos = tokenizer_.eos_id()) ids.push_back(*eos);
    return ids;
  }

  // Everything is trained, as f32.
  void open_whole() {
    const Json config = declare_model(base_)->config();
    std::unique_ptr<Model> kept;
    TrainingPlan plan = whole_model([&] { return create_model(config); }, kept);
    plan.objective = task_->objective();
    require_memory(ctx_, plan, train_, true,
                   available_memory() - task_->further_bytes(*declare_model(base_)));
    model_ = load_model(ctx_, base_, Weights::copied_f32);
    make_trainable(*model_);
  }

  // The model stays in its file; what is trained lies beside it.
  void open_adapted() {
    model_ = load_model(ctx_, base_, Weights::mapped_hf);
    const auto visit = [this](ParamVisitor& v) { model_->visit(v); };
    const TrainingPlan plan{[&](Context& dry) -> Model& {
                              detach_adapters(visit);
                              attach_adapters(dry, visit, options_.adapter, 0, true);
                              return *model_;
                            },
                            task_->objective()};
    require_memory(ctx_, plan, train_, true,
                   available_memory() - task_->further_bytes(*declare_model(base_)));
    detach_adapters(visit);
    dropout_ = attach_adapters(ctx_, visit, options_.adapter, static_cast<uint64_t>(run_.seed), true);
  }

  // What adapters leave out of their inputs is new for every micro-batch, and the same again after a resume.
  Objective with_dropout(Objective inner) {
    if (!dropout_ || dropout_->probability == 0) return inner;
    return [this, inner = std::move(inner)](Context& ctx, Model& model, const TrainBatch& rows,
                                            const LossSums& step, double lambda) {
      const uint64_t batch = hash64(to_text(task_->batches().state()), static_cast<uint64_t>(run_.seed));
      micro_batch_ = batch == dropout_batch_ ? micro_batch_ + 1 : 0;
      dropout_batch_ = batch;
      dropout_->key = (batch ^ (micro_batch_ * 0x9e3779b97f4a7c15u)) | 1;
      LossSums sums = inner(ctx, model, rows, step, lambda);
      dropout_->key = 0;
      return sums;
    };
  }

  // A frozen matrix is met twice (forward, gradient of its input), a trained one three times; the head only
  // where something is learnt; padding never.
  double flops_of(const TrainBatch& batch) const {
    double tokens = 0, targets = 0;
    for (size_t i = 0; i < batch.tokens.size(); ++i) {
      tokens += batch.document[i] != -1;
      targets += batch.targets[i] >= 0;
    }
    const double times = options_.whole_model() ? 3 : 2;
    double attention = 0;
    for (size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
      if (batch.document[static_cast<size_t>(batch.offsets[s])] == -1) continue;
      const auto length = static_cast<double>(batch.offsets[s + 1] - batch.offsets[s]);
      attention += length * model_->attention_flops(length / 2);
    }
    return 2 * times * (flops_.blocks * tokens + flops_.head * targets) + 6 * flops_.adapters * tokens +
           3 * attention;
  }

  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> files = tokenizer_files(tokenizer_, base_);
    GenerationConfig generation = read_generation_config(base_);
    for (const int32_t id : task_->end_ids()) {
      auto& ends = generation.eos_token_id;
      if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
    }
    files["generation_config.json"] = generation_config_text(generation);
    return files;
  }

  SavedModel saved_adapter() const {
    SavedModel saved{.folder = "adapter",
                     .config_file = std::string(kAdapterConfig),
                     .weights_file = std::string(kAdapterWeights)};
    saved.config =
        adapter_config_text(*model_, options_.adapter, fs::absolute(base_).lexically_normal().string());
    saved.files = files();
    saved.parameters = false;
    visit_peft_tensors(*model_, [&](const std::string& name, const Tensor& value) {
      saved.weights.push_back({name, value});
    });
    return saved;
  }

  TrainerHooks hooks() {
    TrainerHooks hooks;
    hooks.run = output_of(run_);
    options_.whole_model() ? void(hooks.model_files = files()) : void(hooks.saved = saved_adapter());
    hooks.on_step = [this](const StepRecord& record) { on_step(record); };
    hooks.on_event = [this](const TrainEvent& event) {
      log_.event(event, train_.tokens_per_step());
      tell(run_, event);
      if (event.kind == TrainEvent::Kind::checkpoint) keeper_.save();
    };
    if (task_->validation_tokens() > 0) {
      hooks.evaluate = [this](bool) { return validate(); };
      hooks.evaluate_start = train_.evaluations > 0 || train_.eval_every > 0;
      hooks.measured = std::string(task_->measured());
      hooks.quick_tokens = hooks.full_tokens = task_->validation_tokens();
    }
    hooks.spent = stage_spending(run_);
    hooks.peak_flops = measure_peak_flops(ctx_.pool, ctx_.kernels);
    hooks.flops = [this](const TrainBatch& batch) { return flops_of(batch); };
    hooks.stop = run_.settings.stop;
    hooks.objective = objective_;
    return hooks;
  }

  double validate() {
    validation_ = task_->validate(ctx_, *model_);
    if (std::exchange(at_start_, false)) run_.record.result["before"] = *validation_;
    return *validation_;
  }

  void on_step(const StepRecord& record) {
    const Work besides = task_->take_work();
    run_.count({record.flops + besides.flops, record.bytes + besides.bytes});
    run_.meter->add_tokens(train_.tokens_per_step());
    log_.step(record, task_->figures());
    run_.progress("tune", record.progress, &record);
    keeper_.heartbeat();
  }

  Json train() {
    Context ctx = ctx_;
    ctx.stream_weights = false;
    Trainer trainer(ctx, *model_, task_->batches(), train_, options_.budget, hooks());
    const bool resumed = trainer.resume();
    const Json budget = write_fields(options_.budget);
    // Killed between the last checkpoint and the end of the stage: nothing is left to train.
    const bool all_done = resumed && trainer.plan().done(trainer.step()) &&
                          run_.record.result.value("budget", Json()) == budget;
    const Json before = resumed ? run_.record.result.value("before", Json()) : Json();
    run_.record.result = Json{{"budget", budget}, {"before", before}};
    at_start_ = trainer.step() == 0 && (train_.evaluations > 0 || train_.eval_every > 0);
    keeper_.save();
    TrainResult result;
    if (all_done) {
      if (task_->validation_tokens() > 0) validation_ = task_->validate(ctx_, *model_);
      result.finished = true;
      result.steps = trainer.step();
      result.tokens = result.steps * train_.tokens_per_step();
    } else {
      result = trainer.run();
    }
    if (!result.finished) {
      keeper_.save();
      throw Interrupted(fmt::format("stopped after step {}", result.steps));
    }
    return summary_of(result);
  }

  Json summary_of(const TrainResult& result) {
    Json json = {{"budget", write_fields(options_.budget)}, {"machine", machine_json(run_)}};
    const Json config = model_->config();
    if (config.contains("architectures") && config["architectures"].is_array() &&
        !config["architectures"].empty()) {
      json["architecture"] = config["architectures"][0];
    }
    json["method"] = options_.method;
    json["base"] = base_.string();
    json["adapter"] = options_.adapter.kind;
    json["parameters"] = count_parameters(*model_).total;
    int64_t trained = 0;
    for (const Parameter& parameter : trainable_parameters(*model_)) trained += parameter.value.size();
    json["trained_parameters"] = trained;
    json["context"] = train_.context;
    json["steps"] = result.steps;
    json["tokens"] = result.tokens;
    json["loss"] = result.loss;
    json["rollbacks"] = result.rollbacks;
    json.update(task_->summary());
    if (validation_) {
      json["validation"] = {{"value", *validation_},
                            {"before", run_.record.result.value("before", Json())},
                            {"measured", task_->measured()}};
    }
    return json;
  }

  Run& run_;
  Context& ctx_;
  const TuneOptions options_;
  TrainOptions train_;
  fs::path base_;
  Tokenizer tokenizer_;
  StepLog log_;
  RecordKeeper keeper_;
  std::unique_ptr<TuneTask> task_;
  std::unique_ptr<Model> model_;
  std::shared_ptr<LowRankDropout> dropout_;
  Objective objective_;
  ProductWeights flops_;
  std::optional<double> validation_;
  bool at_start_ = false;  // the next validation is of the model as it came
  uint64_t dropout_batch_ = 0, micro_batch_ = 0;
};

Json work(Run& run) {
  return Tuning(run).work();
}

std::string summary(const Json& result) {
  std::string text =
      fmt::format("{} trained, {} steps, {}", count_of(result.value("trained_parameters", 0.0), "parameters"),
                  result.value("steps", int64_t{0}), count_of(result.value("tokens", 0.0), "tokens"));
  if (result.contains("validation")) {
    const Json& validation = result["validation"];
    text += fmt::format(", {:.3f} {}", validation.value("value", 0.0),
                        validation.value("measured", std::string()));
    if (const Json before = validation.value("before", Json()); before.is_number()) {
      text += fmt::format(" ({:.3f} before)", before.get<double>());
    }
  }
  return text;
}

}  // namespace

const Stage kTuneStage = {"tune",
                          "tuning",
                          false,
                          true,
                          [](const Run& run) {
                            return !run.recipe.tune.method.empty() && run.settings.verb != "train" &&
                                   run.settings.verb != kAskTeacher;
                          },
                          inputs,
                          work,
                          summary};

}  // namespace frugal
