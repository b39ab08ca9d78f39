// Adapters of whole models: which matrices, over which formats, how they begin, and that the model stays as
// it is.
#include "nn/adapter.h"

#include <atomic>
#include <set>

#include "io/model_files.h"
#include "io/peft.h"
#include "train/trainer.h"
#include "tune/losses.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

std::vector<TokenSequence> counting(int count) {
  std::vector<TokenSequence> all;
  for (int i = 0; i < count; ++i) {
    std::vector<int32_t> ids;
    for (int t = 0; t < 10; ++t) ids.push_back((7 * i + 3 * t) % 50);
    all.push_back(SequenceBuilder::join({ids.data(), 3}, {ids.data() + 3, 7}));
  }
  return all;
}

TrainOptions few_steps() {
  TrainOptions options;
  options.batch = 4;
  options.context = 24;
  options.optimizer.lr = 2e-2;
  options.optimizer.weight_decay = 0;
  options.schedule.warmup_steps = 2;
  options.mtp_lambda = options.mtp_lambda_late = options.balance_alpha = options.bias_update_speed = 0;
  options.save_minutes = 0;
  return options;
}

class Adapters : public TuneTest {
 protected:
  std::vector<float> scores(Model& model) {
    const std::vector<int32_t> ids = {5, 9, 200, 7, 7, 301, 44};
    const Hidden hidden = model.forward(ctx, Batch::single(ids), nullptr);
    const Tensor all = logits(ctx, model, hidden.normed);
    return {all.values().begin(), all.values().end()};
  }
  static double worst(const std::vector<float>& a, const std::vector<float>& b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) most = std::max(most, static_cast<double>(std::abs(a[i] - b[i])));
    return most;
  }
  // Gives B (which begins as zero) values, so that the adapter counts.
  void stir(Model& model) {
    Rng rng(8);
    for (const AdapterPlace& place : adapters_of(visit(model))) {
      visit_tensors(place.low_rank(), [&](std::string_view what, const Tensor& tensor) {
        Tensor shared = tensor;
        for (float& v : shared.values())
          v = static_cast<float>(what == "lora_magnitude_vector" ? v * (1 + 0.1 * rng.normal())
                                                                 : 0.2 * rng.normal());
      });
    }
  }
  TrainResult train(Model& model, int64_t steps, double* first_loss, double* last_loss) {
    PackedBatches batches(counting(12), {.seed = 2});
    TrainerHooks hooks;
    hooks.objective = sft_objective;
    hooks.on_step = [&](const StepRecord& r) { (r.step == 1 ? *first_loss : *last_loss) = r.loss; };
    Trainer trainer(ctx, model, batches, few_steps(), {.steps = steps}, hooks);
    return trainer.run();
  }
};

TEST_F(Adapters, TargetsByTheEndOfTheirNames) {
  auto model = tiny();
  const auto names = [&](std::vector<std::string> targets) {
    std::string all;
    for (const auto& p : adapter_targets(visit(*model), {.target_modules = std::move(targets)}))
      all += p.module() + " ";
    return all;
  };
  EXPECT_EQ(names({"q_proj"}), "model.layers.0.self_attn.q_proj model.layers.1.self_attn.q_proj ");
  EXPECT_EQ(names({"layers.1.mlp.up_proj"}), "model.layers.1.mlp.up_proj ");
  EXPECT_EQ(adapter_targets(visit(*model), {}).size(), 14u);
  const std::string message = error_of([&] { names({"q_proj", "qproj"}); });
  EXPECT_NE(message.find("'qproj'; there are down_proj, gate_proj, k_proj"), std::string::npos) << message;
  EXPECT_NE(error_of([&] { names({"lm_head"}); }).find("lm_head"), std::string::npos);
  auto moe = tiny(kTinyMoeConfig);
  EXPECT_EQ(adapter_targets(visit(*moe), {}).size(), 2u * 5 + 3 + 3 + 3 * 4);
  EXPECT_NE(error_of([&] { adapter_targets(visit(*moe), {.kind = "dora"}); }).find("routed experts"),
            std::string::npos);
  EXPECT_NE(error_of([&] { adapter_targets(visit(*moe), {.dropout = 0.1}); }).find("routed experts"),
            std::string::npos);
}

TEST_F(Adapters, BadOptionsNameTheKey) {
  for (const auto& [options, expected] :
       {std::pair<AdapterOptions, const char*>{{.kind = "lola"}, "adapter.kind = 'lola'"},
        {{.rank = 0}, "adapter.rank = 0"},
        {{.alpha = 0}, "adapter.alpha = 0"},
        {{.dropout = 1}, "adapter.dropout = 1"},
        {{.target_modules = {}}, "adapter.target_modules"}}) {
    EXPECT_NE(error_of([&, o = options] { check(o, "adapter"); }).find(expected), std::string::npos)
        << expected;
  }
}

TEST_F(Adapters, BeginAsTheModelItselfAndMergeToWhatTheyAre) {
  for (const char* kind : {"lora", "rslora", "dora"}) {
    for (const Format* format : {&formats::f32, &formats::bf16, &formats::q8_0, &formats::q4_1}) {
      auto model = tiny();
      quantise(*model, *format);
      const auto plain = scores(*model);
      attach_adapters(ctx, visit(*model), {.kind = kind, .rank = 3}, 1, false);
      EXPECT_LT(worst(scores(*model), plain), 2e-5) << kind;
      stir(*model);
      const auto adapted = scores(*model);
      EXPECT_GT(worst(adapted, plain), 0.05) << kind;
      save_model(dir_ / "merged", *model, {});
      auto merged = load_model(ctx, dir_ / "merged");
      EXPECT_LT(worst(scores(*merged), adapted), 1e-4) << kind << " " << format->name;
    }
  }
}

TEST_F(Adapters, ExpertsAndLatentAttentionMergeToo) {
  auto model = tiny(kTinyMoeConfig);
  quantise(*model, formats::q8_0);
  attach_adapters(ctx, visit(*model), {.rank = 2}, 1, false);
  stir(*model);
  const auto adapted = scores(*model);
  save_model(dir_ / "merged", *model, {});
  EXPECT_LT(worst(scores(*load_model(ctx, dir_ / "merged")), adapted), 2e-4);
}

TEST_F(Adapters, TrainingLeavesTheModelBitForBit) {
  for (const std::string_view config : {kTinyLlamaConfig, kTinyMoeConfig}) {
    for (const char* kind : {"lora", "dora"}) {
      auto model = tiny(config);
      quantise(*model, formats::q8_0);
      const std::string before = bytes_of(*model);
      const bool attention_only = config == kTinyMoeConfig && std::string_view(kind) == "dora";
      attach_adapters(ctx, visit(*model),
                      {.kind = kind, .rank = 4, .target_modules = {attention_only ? "o_proj" : "all-linear"}},
                      1, true);
      double first = 0, last = 0;
      train(*model, 30, &first, &last);
      EXPECT_LT(last, (attention_only ? 0.95 : 0.7) * first) << kind;
      EXPECT_EQ(bytes_of(*model), before) << kind;
    }
  }
}

// Below the first adapter nothing needs a gradient, in any of the ops between.
TEST_F(Adapters, AnyMatrixAloneCanBeTuned) {
  for (const std::string_view config : {kTinyLlamaConfig, kTinyMoeConfig}) {
    std::set<std::string> names;
    for (const AdapterPlace& place : adapter_targets(visit(*tiny(config)), {})) {
      names.insert(place.module().substr(place.module().rfind('.') + 1));
    }
    for (const std::string& name : names) {
      auto model = tiny(config);
      attach_adapters(ctx, visit(*model), {.rank = 2, .target_modules = {name}}, 1, true);
      double first = 0, last = 0;
      train(*model, 8, &first, &last);
      EXPECT_LT(last, first) << name;
    }
  }
}

// Checkpoints of adapters: stopped after five steps and gone on, the same bits as in one go.
TEST_F(Adapters, ResumingIsBitExact) {
  const auto run = [&](const fs::path& directory, int64_t stop_after) {
    auto model = tiny();
    quantise(*model, formats::q8_0);
    const AdapterOptions options{.rank = 4};
    attach_adapters(ctx, visit(*model), options, 1, true);
    PackedBatches batches(counting(30), {.seed = 2});
    std::atomic<bool> stop = false;
    TrainerHooks hooks;
    hooks.run = directory;
    hooks.objective = sft_objective;
    hooks.stop = &stop;
    hooks.on_step = [&](const StepRecord& r) { stop = r.step == stop_after; };
    hooks.saved = SavedModel{.folder = "adapter",
                             .config_file = std::string(kAdapterConfig),
                             .weights_file = std::string(kAdapterWeights),
                             .config = adapter_config_text(*model, options, "base"),
                             .parameters = false};
    visit_peft_tensors(*model, [&](const std::string& name, const Tensor& value) {
      hooks.saved->weights.push_back({name, value});
    });
    Trainer trainer(ctx, *model, batches, few_steps(), {.steps = 12}, hooks);
    trainer.resume();
    return trainer.run().finished;
  };
  EXPECT_TRUE(run(dir_ / "one", -1));
  EXPECT_FALSE(run(dir_ / "two", 5));
  EXPECT_TRUE(run(dir_ / "two", -1));
  const auto weights = [&](const char* name) { return read_file(dir_ / name / "adapter" / kAdapterWeights); };
  EXPECT_EQ(weights("one"), weights("two"));
  auto model = tiny();
  load_adapter(ctx, *model, dir_ / "two" / "adapter");
}

TEST_F(Adapters, SavedFilesAreReadBackBitForBit) {
  auto model = tiny(kTinyMoeConfig);
  const AdapterOptions options{.kind = "rslora", .rank = 4, .alpha = 6, .target_modules = {"all-linear"}};
  attach_adapters(ctx, visit(*model), options, 1, false);
  stir(*model);
  const auto adapted = scores(*model);
  save_adapter(dir_ / "adapter", *model, adapter_config_text(*model, options, "somewhere"));
  auto again = tiny(kTinyMoeConfig);
  load_adapter(ctx, *again, dir_ / "adapter");
  EXPECT_EQ(scores(*again), adapted);
  EXPECT_FALSE(adapters_of(visit(*again)).front().low_rank().trains());
  detach_adapters(visit(*again));
  EXPECT_TRUE(adapters_of(visit(*again)).empty());
}

TEST_F(Adapters, FilesForOtherModelsAndOfOtherKindsAreRefused) {
  auto model = tiny();
  const AdapterOptions options{.rank = 4};
  attach_adapters(ctx, visit(*model), options, 1, false);
  const std::string config = adapter_config_text(*model, options, "nowhere");
  save_adapter(dir_ / "a", *model, config);
  EXPECT_NE(error_of([&] { load_adapter(ctx, *model, dir_ / "a"); }).find("has an adapter already"),
            std::string::npos);
  auto moe = tiny(kTinyMoeConfig);
  EXPECT_NE(error_of([&] { load_adapter(ctx, *moe, dir_ / "a"); }).find("another model"), std::string::npos);
  EXPECT_NE(error_of([&] { adapter_base(dir_ / "a"); }).find("'nowhere' is not here"), std::string::npos);
  EXPECT_NE(error_of([&] { find_adapter((dir_ / "none").string()); }).find("no adapter here"),
            std::string::npos);
  const auto with = [&](const char* key, const Json& value) {
    Json json = parse_json(config, "c");
    json[key] = value;
    write_file_atomically(dir_ / "a" / "adapter_config.json", to_text(json));
    auto fresh = tiny();
    return error_of([&] { load_adapter(ctx, *fresh, dir_ / "a"); });
  };
  EXPECT_NE(with("peft_type", "IA3").find("peft_type is 'IA3'"), std::string::npos);
  EXPECT_NE(with("bias", "all").find("bias is 'all'"), std::string::npos);
  EXPECT_NE(with("modules_to_save", Json::array({"lm_head"})).find("modules_to_save"), std::string::npos);
  EXPECT_NE(with("init_lora_weights", "pissa").find("pissa"), std::string::npos);
  EXPECT_NE(with("use_dora", true).find("has no lora_magnitude_vector"), std::string::npos);
  EXPECT_NE(with("lora_alpha", "big").find("lora_alpha"), std::string::npos);
  EXPECT_EQ(with("target_modules", "all-linear"), "no error");  // the tensors say where they belong
  write_file_atomically(dir_ / "a" / "adapter_config.json", config);
  fs::remove(dir_ / "a" / "adapter_model.safetensors");
  auto fresh = tiny();
  EXPECT_NE(
      error_of([&] { load_adapter(ctx, *fresh, dir_ / "a"); }).find("adapter_model.safetensors: not found"),
      std::string::npos);
}

}  // namespace
}  // namespace frugal
