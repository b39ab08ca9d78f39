// frugal bench MODEL | train | machine: speed, also as a fraction of what the machine can do.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/open_model.h"
#include "cli/profile_report.h"
#include "cli/reply.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "core/rng.h"
#include "kernels/dispatch.h"
#include "meter/machine.h"
#include "meter/process.h"
#include "meter/units.h"
#include "train/trainer.h"

namespace frugal::cli {
namespace {

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.at(values.size() / 2);
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab))));
  return ids;
}

// --- bench MODEL

struct ModelArguments {
  CommonOptions common;
  std::string model, compute = "fast";
  std::optional<int64_t> prompt, tokens;
  int64_t depth = 0, repeat = 3;
  std::optional<std::string> kv_format;
  DraftFlags draft;
  ProfileFlag profile;
};

struct Speed {
  double prefill = 0, decode = 0;  // tokens a second
};

// Prompt tokens behind `depth` others, then generated ones behind as many and one.
Speed measure(Context& ctx, Engine& engine, const ModelArguments& a, int64_t prompt, int64_t tokens,
              int64_t vocab) {
  const auto phase = [&](const char* name) {
    if (ctx.profile != nullptr) ctx.profile->phase(name);
  };
  std::vector<double> prefill, decode;
  const auto depth = static_cast<size_t>(a.depth);
  std::vector<int32_t> ids = random_ids(a.depth, vocab, 1);  // the same in all rounds: the engine keeps them
  if (a.depth > 0) {
    phase("filling the context");
    engine.prefill(0, ids);
  }
  for (int64_t r = 0; r <= a.repeat; ++r) {  // the first round warms up
    ids.resize(depth);
    for (const int32_t id : random_ids(prompt, vocab, static_cast<uint64_t>(r) + 2)) ids.push_back(id);
    if (a.depth == 0) engine.clear(0);
    phase("prefill");
    double start = steady_seconds();
    engine.prefill(0, ids);
    if (r > 0) prefill.push_back(static_cast<double>(prompt) / (steady_seconds() - start));
    phase("first token");
    engine.prefill(0, std::span(ids).first(depth + 1));
    phase("decode");
    start = steady_seconds();
    for (const int32_t id : random_ids(tokens, vocab, 77)) {
      const Engine::Rows rows{0, {&id, 1}, RowRole::generated};
      engine.forward({&rows, 1});
    }
    if (r > 0) decode.push_back(static_cast<double>(tokens) / (steady_seconds() - start));
  }
  return {median(prefill), median(decode)};
}

// Greedy replies to a prompt that repeats itself, with and without drafts, alternating.
struct DraftSpeed {
  double plain = 0, drafted = 0;  // tokens a second
  DraftStats stats;               // of the last round
};

DraftSpeed measure_drafts(Context& ctx, Model& model, const EngineOptions& options, const ModelArguments& a,
                          int64_t prompt, int64_t tokens) {
  constexpr int64_t kPassage = 48;
  const auto passage = random_ids(std::min(prompt, kPassage), model.shape().vocab_size, 5);
  GenerationRequest request{
      .prompt = {}, .max_tokens = tokens, .sampling = {.temperature = 0}, .stop_ids = {}};
  for (int64_t i = 0; i < prompt; ++i)
    request.prompt.push_back(passage[static_cast<size_t>(i) % passage.size()]);
  EngineOptions with = options;
  with.draft = a.draft.options();
  with.context = prompt + tokens;
  EngineOptions without = with;
  without.draft = {};
  Engine plain(ctx, model, without), drafting(ctx, model, with);
  std::vector<double> plain_speed, drafted_speed;
  DraftSpeed out;
  for (int64_t r = 0; r <= a.repeat; ++r) {
    plain.clear(0);
    drafting.clear(0);
    const Generation expected = plain.generate(request), got = drafting.generate(request);
    CHECK(expected.ids == got.ids, "drafts changed the reply");
    if (r == 0) continue;
    const auto count = static_cast<double>(got.ids.size());
    plain_speed.push_back(count / expected.decode_seconds);
    drafted_speed.push_back(count / got.decode_seconds);
    out.stats = got.draft;
  }
  out.plain = median(plain_speed);
  out.drafted = median(drafted_speed);
  return out;
}

void bench_model(ModelArguments& a, const Environment& environment) {
  if (a.model.empty()) fail_usage("give a MODEL, or one of: train, machine; see 'frugal bench --help'");
  Runtime runtime(a.common, environment);
  Context& ctx = runtime.ctx();
  ctx.compute = parse_compute(a.compute);
  const auto model = load_model(ctx, find_model(a.model, environment));
  const ModelShape shape = model->shape();
  const int64_t prompt = a.prompt.value_or(std::min<int64_t>(512, shape.max_positions - a.depth));
  const int64_t tokens = a.tokens.value_or(std::min<int64_t>(128, shape.max_positions - a.depth - 1));
  if (prompt < 1 || tokens < 1 || a.repeat < 1 || a.depth < 0)
    fail_usage("-p, -n, --repeat: expected at least 1");
  EngineOptions options;
  options.kv_format = &kv_format(ctx.compute, a.kv_format);
  const bool drafts = a.draft.options().kind != DraftKind::off;
  options.context = a.depth + std::max(prompt, 1 + tokens);
  Engine engine(ctx, *model, options);
  a.profile.start(ctx);
  const Speed speed = measure(ctx, engine, a, prompt, tokens, shape.vocab_size);
  Json report = Json::object();
  a.profile.finish(ctx, a.common, &report);
  DraftSpeed draft;
  if (drafts)
    draft = measure_drafts(ctx, *model, options, a, prompt, std::min(tokens, shape.max_positions - prompt));
  const int64_t memory = process_memory().peak_resident_bytes;
  const MachinePeaks peaks = measure_machine(ctx.pool, ctx.kernels);
  const double kv = static_cast<double>(kv_bytes_per_token(*model, *options.kv_format)) *
                    (static_cast<double>(a.depth + 1) + static_cast<double>(tokens) / 2);
  const double bandwidth = speed.decode * (weight_bytes(*model, 1) + kv) / peaks.bytes_per_second;
  const double flops =
      speed.prefill * flops_per_token(*model, 2 * a.depth + prompt).forward / peaks.flops_per_second;
  if (a.common.json) {
    report.update({{"prefill_tok_s", speed.prefill},
                   {"decode_tok_s", speed.decode},
                   {"bandwidth_fraction", bandwidth},
                   {"flops_fraction", flops},
                   {"peak_memory_bytes", memory},
                   {"prompt", prompt},
                   {"tokens", tokens},
                   {"depth", a.depth},
                   {"kv_format", options.kv_format->name},
                   {"threads", peaks.threads},
                   {"kernels", peaks.kernels}});
    if (drafts) {
      report["draft"] = draft_json(draft.stats);
      report["draft"].update({{"plain_tok_s", draft.plain}, {"tok_s", draft.drafted}});
    }
    return print_json(report);
  }
  print(
      fmt::format("prefill {:>8.1f} tok/s  ({} tokens, {:.0f}% of the FMA peak)\n"
                  "decode  {:>8.1f} tok/s  ({} tokens, {:.0f}% of the read bandwidth)\n"
                  "memory  {:>8}\n",
                  speed.prefill, prompt, 100 * flops, speed.decode, tokens, 100 * bandwidth,
                  format_quantity(static_cast<double>(memory), "B")));
  if (drafts) {
    print(fmt::format(
        "drafts  {:>8.1f} tok/s on a text that repeats itself, {:.1f} without ({:.2f} times as many)\n{}\n",
        draft.drafted, draft.plain, draft.drafted / draft.plain, draft_line(draft.stats)));
  }
}

// --- bench train

struct TrainArguments {
  CommonOptions common;
  std::string preset;
  TrainOptions options;
  int64_t steps = 5;
  ProfileFlag profile;
};

class RandomBatches : public BatchSource {
 public:
  explicit RandomBatches(int64_t vocab) : vocab_(vocab) {}
  TrainBatch next(int64_t rows, int64_t length) override {
    TrainBatch batch;
    batch.rows = rows;
    batch.length = length;
    const auto ids = random_ids(rows * length + 1, vocab_, seed_++);
    batch.tokens.assign(ids.begin(), ids.end() - 1);
    batch.targets.assign(ids.begin() + 1, ids.end());
    batch.document.assign(batch.tokens.size(), 0);
    for (int64_t r = 0; r < rows; ++r) {
      batch.offsets.push_back(r * length);
      for (int64_t t = 0; t < length; ++t) batch.positions.push_back(static_cast<int32_t>(t));
    }
    batch.offsets.push_back(rows * length);
    return batch;
  }
  Json state() const override { return nullptr; }
  void restore(const Json&, const std::string&) override {}

 private:
  int64_t vocab_;
  uint64_t seed_ = 0;
};

void bench_train(TrainArguments& a, const Environment& environment) {
  if (a.steps < 1) fail_usage("--steps {}: expected at least 1", a.steps);
  Runtime runtime(a.common, environment);
  Context& ctx = runtime.ctx();
  const auto model = create_model(preset_config(a.preset));
  initialise(ctx, *model, 1);
  make_trainable(*model);
  RandomBatches batches(model->shape().vocab_size);
  constexpr int64_t kWarmUp = 2;
  std::vector<double> seconds;
  TrainerHooks hooks;
  hooks.on_step = [&](const StepRecord& record) {
    if (record.step > kWarmUp) seconds.push_back(record.seconds);
    note(a.common, fmt::format("step {}: {:.0f} tok/s", record.step, record.tokens_per_second));
  };
  Budget budget;
  budget.steps = a.steps + kWarmUp;
  a.profile.start(ctx);
  Trainer(ctx, *model, batches, a.options, budget, hooks).run();
  Json report = Json::object();
  a.profile.finish(ctx, a.common, &report);
  const int64_t memory = process_memory().peak_resident_bytes;
  const double speed = static_cast<double>(a.options.tokens_per_step()) / median(seconds);
  const double peak = measure_peak_flops(ctx.pool, ctx.kernels);
  const bool with_mtp = model->shape().mtp_depth > 0 && a.options.mtp_lambda > 0;
  const double mfu = speed * training_flops_per_token(*model, a.options.context, with_mtp) / peak;
  const int64_t parameters = count_parameters(*model).total;
  if (a.common.json) {
    report.update({{"tok_s", speed},
                   {"mfu", mfu},
                   {"peak_memory_bytes", memory},
                   {"parameters", parameters},
                   {"preset", a.preset},
                   {"batch", a.options.batch},
                   {"context", a.options.context},
                   {"step_seconds", median(seconds)},
                   {"peak_flops", peak},
                   {"threads", ctx.pool.size()},
                   {"kernels", ctx.kernels.name}});
    return print_json(report);
  }
  print(fmt::format("{}: {:.0f} tok/s, MFU {:.2f}, {} ({:.2f} M parameters, batch {}, context {})\n",
                    a.preset, speed, mfu, format_quantity(static_cast<double>(memory), "B"),
                    static_cast<double>(parameters) / 1e6, a.options.batch, a.options.context));
}

// --- bench machine

void bench_machine(const CommonOptions& common, const Environment& environment) {
  Runtime runtime(common, environment);
  const MachinePeaks peaks = measure_machine(runtime.ctx().pool, runtime.ctx().kernels);
  if (common.json) {
    return print_json({{"flops_per_second", peaks.flops_per_second},
                       {"bytes_per_second", peaks.bytes_per_second},
                       {"threads", peaks.threads},
                       {"kernels", peaks.kernels}});
  }
  print(fmt::format("multiply-adds  {}/s (f32)\nmemory reading {}/s\n{} threads, {}\n",
                    format_quantity(peaks.flops_per_second, "FLOP"),
                    format_quantity(peaks.bytes_per_second, "B"), peaks.threads, peaks.kernels));
}

}  // namespace

void declare_bench(Command& command, const Environment& environment) {
  const auto m = std::make_shared<ModelArguments>();
  m->common.declare(command);
  command.positional("MODEL", m->model, kModelHelp, false);
  command.option("-p", m->prompt, "Prompt tokens to read (default: 512 or the model's longest context)");
  command.option("-n", m->tokens, "Tokens to generate (default: 128 or as many as fit)");
  command.option("--depth", m->depth, "Tokens in the context before those that are timed");
  command.option("--repeat", m->repeat, "Rounds; the median is reported");
  command.option("--compute", m->compute, kComputeHelp);
  declare_kv_format(command, m->kv_format);
  m->draft.declare(command, DraftKind::off);
  m->profile.declare(command);
  command.action([m, environment] { bench_model(*m, environment); });

  const auto t = std::make_shared<TrainArguments>();
  t->options.batch = 8;
  Command train = command.subcommand("train", "Training steps of a preset on random tokens");
  t->common.declare(train);
  train.required_option("--preset", t->preset, "The shape, as in 'frugal info --preset'");
  train.option("-b", t->options.batch, "Rows a step");
  train.option("-t", t->options.context, "Tokens a row");
  train.option("--micro-batch", t->options.micro_batch, "Rows at a time; 0: all");
  train.option("--optimizer", t->options.optimizer.name, "adamw or muon");
  train.option("--compute", t->options.compute, "f32 or bf16");
  train.flag("--recompute", t->options.recompute, "Keep no activations inside blocks; run them twice");
  train.option("--steps", t->steps, "Steps to time, after two that warm up");
  t->profile.declare(train);
  train.action([t, environment] { bench_train(*t, environment); });

  declare_bench_tokenizer(command, environment);

  const auto common = std::make_shared<CommonOptions>();
  Command machine = command.subcommand("machine", "Multiply-adds and memory bandwidth of this machine");
  common->declare(machine);
  machine.action([common, environment] { bench_machine(*common, environment); });
}

}  // namespace frugal::cli
