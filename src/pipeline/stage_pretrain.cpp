// Training: recipe to model, trainer, log lines, and what is kept for the report.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/interrupted.h"
#include "data/source.h"
#include "data/windows.h"
#include "distill/cross.h"
#include "distill/on_policy.h"
#include "distill/teacher.h"
#include "infer/sampler.h"
#include "io/gguf_model.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "kernels/kernels.h"
#include "meter/machine.h"
#include "meter/units.h"
#include "models/model.h"
#include "pipeline/books.h"
#include "pipeline/distillation.h"
#include "pipeline/stages.h"
#include "pipeline/training.h"
#include "text/special_tokens.h"
#include "train/evaluate.h"
#include "train/preflight.h"
#include "train/trainer.h"
#include "tune/packing.h"

namespace frugal {
namespace {

Json config_of(Run& run) {
  if (!run.recipe.init.empty()) return declare_model(find_model(run.recipe.init))->config();
  const Tokenizer& tokenizer = run.tokenizer();
  const DistillOptions& distill = run.recipe.distill;
  const bool of_teacher = distill.wanted() && !distill.crosses();
  const int64_t vocab = of_teacher ? teacher_vocabulary(run) : tokenizer.vocab_size();
  return model_config(run.recipe, vocab, tokenizer.bos_id().value_or(-1), tokenizer.eos_id().value_or(-1));
}

// The config a run starts from, as its file says it; a GGUF file's is in config_of already.
std::string init_of(Run& run) {
  if (run.recipe.init.empty()) return "";
  const fs::path model = find_model(run.recipe.init);
  return is_gguf(model) ? "gguf" : hash_files({(model / "config.json").string()});
}

std::string inputs(Run& run) {
  const TrainOptions& train = run.recipe.train;
  Json options = write_fields(train);
  // These change what is kept and shown, not what is learned.
  for (const char* key : {"save_every", "save_minutes", "keep_last", "eval_every", "on_spike",
                          "spike_threshold", "max_rollbacks"}) {
    options.erase(key);
  }
  std::vector<std::string> parts = {to_text(config_of(run)), init_of(run), to_text(options),
                                    std::to_string(run.seed), run.result("data").value("key", std::string())};
  if (run.recipe.distill.wanted()) {
    parts.push_back(to_text(write_fields(run.recipe.distill)));
    parts.push_back(to_text(write_fields(teacher_identity(run))));
    const std::vector<std::string>& prompts = run.recipe.distill.prompts;
    if (!prompts.empty()) parts.push_back(hash_files(expand_patterns(prompts, "distill.prompts")));
  }
  return hash_of(parts);
}

// What ends a reply. A chat model also ends its turn.
GenerationConfig generation_of(const Tokenizer& tokenizer) {
  GenerationConfig config;
  if (tokenizer.bos_id()) config.bos_token_id = *tokenizer.bos_id();
  if (tokenizer.eos_id()) config.eos_token_id.push_back(*tokenizer.eos_id());
  if (const auto turn = tokenizer.find(kEndOfTurn)) config.eos_token_id.push_back(*turn);
  return config;
}

class Pretraining {
 public:
  explicit Pretraining(Run& run)
      : run_(run), ctx_(run.settings.ctx), options_(run.recipe.train), log_(run.directory), keeper_(run) {
    options_.evaluations = run.recipe.eval.evaluations;
  }

  Json work() {
    const Json config = config_of(run_);
    if (!run_.recipe.init.empty()) tell_unused_keys(config);
    model_ = create_model(config);
    prepare_data_and_windows();
    if (run_.recipe.distill.wanted()) meet_teacher();
    require_room(config);
    if (run_.recipe.init.empty()) {
      initialise(ctx_, *model_, static_cast<uint64_t>(run_.seed));
    } else {
      load_parameters(ctx_, *model_, find_model(run_.recipe.init), Weights::copied_f32);
    }
    make_trainable(*model_);
    if (own_ != nullptr) own_->begin(*model_);
    return train(config);
  }

 private:
  // With `init` the shape is the given model's, whatever [model] says.
  void tell_unused_keys(const Json& config) {
    const Json wanted = parse_json(run_.recipe.model.overrides, "model");
    for (const auto& [key, value] : wanted.items()) {
      if (config.contains(key) && config[key] == value) continue;
      run_.settings.observer.warning(
          fmt::format("model.{} = {} is not used: {} of {} counts", key, to_text(value),
                      config.contains(key) ? to_text(config[key]) : "the config", run_.recipe.init));
    }
  }

  void prepare_data_and_windows() {
    const PreparedData& data = run_.data();
    const Framing framing{run_.tokenizer().bos_id().value_or(-1), run_.tokenizer().eos_id().value_or(-1)};
    const bool mask = run_.recipe.data.document_mask;
    stream_ = training_stream(run_);
    batches_ = batches_of(*stream_);
    if (data.valid.documents() == 0) return;
    WindowOptions windows{.framing = framing, .length = options_.context, .document_mask = mask};
    full_.emplace(data.valid, windows);
    windows.max_tokens = run_.recipe.eval.sample_tokens;
    quick_.emplace(data.valid, windows);
  }

  // The student's memory, the teacher's rows beside it, and keys and values of the texts that it writes.
  void require_room(const Json& config) {
    const DistillOptions& distill = run_.recipe.distill;
    std::unique_ptr<Model> kept;
    TrainingPlan plan = whole_model([&] { return create_model(config); }, kept);
    plan.objective = objective_;
    const int64_t texts = distill.on_policy() ? distill.at_once * options_.context : 0;
    const int64_t cache = texts * kv_bytes_per_token(*model_, formats::f32);
    require_memory(ctx_, plan, options_, true, available_memory() - cache);
    tally_ = {};  // the dry run is no work
  }

  void meet_teacher() {
    const DistillOptions& distill = run_.recipe.distill;
    // Beside each other, models of one tokenizer may have more ids than it, and not the same number of them.
    const int64_t own = model_->shape().vocab_size, theirs = teacher_vocabulary(run_);
    const bool padded = !distill.cached() && std::min(own, theirs) >= run_.tokenizer().vocab_size();
    if (!distill.crosses() && own != theirs && !padded) {
      fail(
          "{}: the teacher has {} ids, the student {}: distillation needs one vocabulary, or "
          "distill.divergence = \"uld\" or \"alm\" beside the teacher (distill.how = \"online\")",
          distill.teacher, theirs, own);
    }
    if (!distill.cached()) {
      meet_online();
      return;
    }
    cache_.emplace(teacher_cache(run_));
    cache_->require(teacher_identity(run_));
    rows_ = std::move(batches_);
    batches_ = std::make_unique<CachedRows>(*rows_, cache_->rows());
    objective_ = cached_objective(*cache_, distill.weights());
  }

  void meet_online() {
    const DistillOptions& distill = run_.recipe.distill;
    const fs::path path = find_model(distill.teacher);
    teacher_ = load_model(ctx_, path, Weights::mapped_hf);
    if (distill.crosses()) {
      aligner_.emplace(run_.tokenizer(), load_tokenizer(path), teacher_->shape().max_positions);
      objective_ = cross_objective(*teacher_, *aligner_, distill.cross_options(), tally_);
    } else {
      objective_ = online_objective(*teacher_, distill.divergence_options(), tally_);
    }
    if (!distill.on_policy()) return;
    OnPolicyOptions own{.lambda = distill.lambda,
                        .prompt_tokens = distill.prompt_tokens,
                        .max_new_tokens = distill.max_new_tokens,
                        .temperature = distill.sample_temperature,
                        .at_once = distill.at_once,
                        .seed = static_cast<uint64_t>(run_.seed)};
    for (const int64_t id : generation_of(run_.tokenizer()).eos_token_id)
      own.stop_ids.push_back(static_cast<int32_t>(id));
    own.prompts = student_prompts(run_, run_.tokenizer());
    rows_ = std::move(batches_);
    auto rows = std::make_unique<OwnRows>(ctx_, *rows_, run_.tokenizer(), std::move(own), options_.context);
    own_ = rows.get();
    batches_ = std::move(rows);
  }

  double evaluate(bool full) {
    const int64_t rows = run_.recipe.eval.rows;
    const Validation result = validate(ctx_, *model_, full ? *full_ : *quick_, rows);
    const int64_t pass = rows * options_.context;
    run_.count(forward_work(*model_, options_.context, result.targets, (result.targets + pass - 1) / pass));
    if (full) final_ = result;
    return result.bits_per_byte;
  }

  TrainerHooks hooks() {
    TrainerHooks hooks;
    hooks.run = run_.directory.path();
    hooks.model_files = tokenizer_files(run_.tokenizer(), run_.tokenizer_path());
    hooks.model_files["generation_config.json"] = generation_config_text(generation_of(run_.tokenizer()));
    hooks.on_step = [this](const StepRecord& record) { on_step(record); };
    hooks.on_event = [this](const TrainEvent& event) { on_event(event); };
    if (full_) {
      hooks.evaluate = [this](bool full) { return evaluate(full); };
      hooks.quick_tokens = quick_->targets();
      hooks.full_tokens = full_->targets();
    }
    hooks.spent = stage_spending(run_);
    hooks.peak_flops = measure_peak_flops(ctx_.pool, ctx_.kernels);
    hooks.stop = run_.settings.stop;
    hooks.objective = objective_;
    if (teacher_) {
      const double flops = training_flops_per_token(*model_, options_.context, options_.mtp_lambda > 0);
      hooks.flops = [this, flops](const TrainBatch& batch) {
        const auto tokens = std::ranges::count_if(batch.document, [](int32_t d) { return d != kPadding; });
        return flops * static_cast<double>(tokens) + tally_.work.flops;
      };
    }
    return hooks;
  }

  static double share_met(int64_t met, int64_t targets) {
    return static_cast<double>(met) / static_cast<double>(std::max<int64_t>(1, targets));
  }

  // What the teacher beside the student, and the student's own writing, have to say about a step.
  Json figures_of_step() {
    Json figures = Json::object();
    if (own_ != nullptr) {
      for (const auto& [name, value] : own_->figures()) figures[name] = value;
      run_.count(own_->take_work());
    }
    if (!teacher_) return figures;
    run_.count({0, tally_.work.bytes});  // its FLOPs are the step's
    teacher_flops_ += tally_.work.flops;
    if (aligner_) figures["share of targets that the teacher met"] = share_met(tally_.met, tally_.targets);
    all_met_ += tally_.met;
    all_targets_ += tally_.targets;
    tally_ = {};
    return figures;
  }

  // What was learned from the cache since the last time, for the ledger.
  void tell_use() {
    if (cache_ && unsaid_tokens_ > 0) run_.books->uses(cache_->id(), std::exchange(unsaid_tokens_, 0));
  }

  Json train(const Json& config) {
    Trainer trainer(ctx_, *model_, *batches_, options_, run_.recipe.budget, hooks());
    const bool resumed = trainer.resume();
    const Json budget = write_fields(run_.recipe.budget);
    // Killed between the last checkpoint and the end of the stage: nothing is left to train.
    const bool all_done = resumed && trainer.plan().done(trainer.step()) &&
                          run_.record.result.value("budget", Json()) == budget;
    run_.record.result = Json{{"budget", budget}};
    keeper_.save();
    TrainResult result;
    if (all_done) {
      if (full_) evaluate(true);
      result.finished = true;
      result.steps = trainer.step();
      result.tokens = result.steps * options_.tokens_per_step();
    } else {
      result = trainer.run();
    }
    tell_use();
    if (!result.finished) {
      keeper_.save();
      throw Interrupted(fmt::format("stopped after step {}", result.steps));
    }
    return summary_of(config, result);
  }

  Json summary_of(const Json& config, const TrainResult& result) {
    const ParameterCounts counts = count_parameters(*model_);
    const ModelShape shape = model_->shape();
    Json json = {{"budget", write_fields(run_.recipe.budget)}, {"machine", machine_json(run_)}};
    const auto architectures = config.find("architectures");
    const Json full = model_->config();
    json["architecture"] =
        full.contains("architectures") && full["architectures"].is_array() && !full["architectures"].empty()
            ? full["architectures"][0]
            : Json(architectures == config.end() ? "" : to_text(*architectures));
    json["parameters"] = counts.total;
    json["active_parameters"] = counts.active;
    json["embedding_parameters"] = counts.embedding;
    json["mtp_parameters"] = counts.mtp;
    json["layers"] = shape.layers;
    json["hidden_size"] = shape.hidden_size;
    json["vocab_size"] = shape.vocab_size;
    for (const auto& [key, name] :
         {std::pair{"n_routed_experts", "experts"}, {"num_experts_per_tok", "experts_per_token"}}) {
      if (full.contains(key) && full[key].is_number()) json[name] = full[key];
    }
    json["context"] = options_.context;
    json["steps"] = result.steps;
    json["tokens"] = result.tokens;
    json["epochs"] = stream_->epoch();
    json["loss"] = result.loss;
    json["rollbacks"] = result.rollbacks;
    json["mfu"] = steps_ > 0 ? mfu_sum_ / static_cast<double>(steps_) : 0;
    json["flops_per_token"] = flops_per_token_;
    if (teacher_ && steps_ > 0) {
      json["teacher_flops_per_token"] =
          teacher_flops_ / static_cast<double>(steps_ * options_.tokens_per_step());
      json["teacher_coverage"] = share_met(all_met_, all_targets_);
    }
    if (cache_) json["teacher_share"] = charge_cache(run_, *cache_, result.tokens);
    if (final_) {
      json["validation"] = {{"bits_per_byte", final_->bits_per_byte},
                            {"loss", final_->loss},
                            {"targets", final_->targets},
                            {"bytes", final_->bytes}};
    }
    return json;
  }

  void on_step(const StepRecord& record) {
    run_.count({record.flops, record.bytes});
    run_.meter->add_tokens(options_.tokens_per_step());
    flops_per_token_ = record.flops / static_cast<double>(options_.tokens_per_step());
    mfu_sum_ += record.mfu;
    ++steps_;
    log_.step(record, figures_of_step());
    run_.progress("pretrain", record.progress, &record);
    unsaid_tokens_ += options_.tokens_per_step();
    if (keeper_.heartbeat()) tell_use();
  }

  void on_event(const TrainEvent& event) {
    log_.event(event, options_.tokens_per_step());
    tell(run_, event);
    if (event.kind == TrainEvent::Kind::checkpoint) keeper_.save();
  }

  Run& run_;
  Context& ctx_;
  TrainOptions options_;
  StepLog log_;
  RecordKeeper keeper_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<BatchStream> stream_;
  std::unique_ptr<BatchSource> rows_, batches_;  // rows_: what batches_ is made of, for a student
  OwnRows* own_ = nullptr;                       // batches_, on-policy
  std::unique_ptr<Model> teacher_;
  std::optional<TokenAligner> aligner_;
  std::optional<CacheReader> cache_;
  Objective objective_ = next_token_objective;
  std::optional<ValidationWindows> full_, quick_;
  std::optional<Validation> final_;
  double flops_per_token_ = 0, mfu_sum_ = 0;
  int64_t steps_ = 0, unsaid_tokens_ = 0;
  TeacherTally tally_;  // of the step
  double teacher_flops_ = 0;
  int64_t all_met_ = 0, all_targets_ = 0;
};

Json work(Run& run) {
  return Pretraining(run).work();
}

std::string summary(const Json& result) {
  std::string text =
      fmt::format("{}, {} steps, {}", count_of(result.value("parameters", 0.0), "parameters"),
                  result.value("steps", int64_t{0}), count_of(result.value("tokens", 0.0), "tokens"));
  if (result.contains("validation")) {
    text += fmt::format(", {:.3f} bits per byte", result["validation"].value("bits_per_byte", 0.0));
  }
  return text;
}

}  // namespace

const Stage kPretrainStage = {
    "pretrain",
    "training",
    false,
    true,
    [](const Run& run) { return !run.recipe.tune_only && run.settings.verb != kAskTeacher; },
    inputs,
    work,
    summary};

}  // namespace frugal
