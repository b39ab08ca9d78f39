// Counts of the published models, presets, bad configs, initialisation.
#include "core/error.h"
#include "models/golden.h"

namespace frugal {
namespace {

TEST(Counts, DeepseekV3) {  // report table and README_WEIGHTS.md; training.md derives them
  const auto model = create_model(preset_config("v3-671b"));
  const ParameterCounts counts = count_parameters(*model);
  EXPECT_NEAR(static_cast<double>(counts.total) / 1e9, 671.03, 0.005);
  EXPECT_NEAR(static_cast<double>(counts.mtp) / 1e9, 11.61, 0.005);
  EXPECT_NEAR(static_cast<double>(counts.active) / 1e9, 36.62, 0.005);
  EXPECT_EQ(kv_bytes_per_token(*model, formats::bf16), 70272);
  EXPECT_NEAR(flops_per_token(*model, 4096).training / 1e9, 250.4, 0.05);
}

TEST(Counts, DeepseekV2) {
  const auto lite = create_model(preset_config("v2-lite"));
  const ParameterCounts counts = count_parameters(*lite);
  EXPECT_NEAR(static_cast<double>(counts.total) / 1e9, 15.71, 0.005);
  EXPECT_NEAR(static_cast<double>(counts.active) / 1e9, 2.45, 0.005);
  EXPECT_NEAR(static_cast<double>(counts.embedding) / 1e9, 0.21, 0.005);
  EXPECT_EQ(kv_bytes_per_token(*lite, formats::bf16), 31104);
  const auto big = create_model(preset_config("v2-236b"));
  EXPECT_NEAR(static_cast<double>(count_parameters(*big).total) / 1e9, 235.74, 0.005);
}

TEST(Work, CountsWeightsCacheAndProducts) {
  // Two layers of Llama: attention 4 of 16 x 16 (k and v half as wide), feed-forward 3 of 16 x 32, norms, own
  // head.
  const Json config = {{"model_type", "llama"},    {"vocab_size", 64},
                       {"hidden_size", 16},        {"intermediate_size", 32},
                       {"num_hidden_layers", 2},   {"num_attention_heads", 4},
                       {"num_key_value_heads", 2}, {"tie_word_embeddings", false}};
  const auto llama = create_model(config);
  const double weights = 2 * (2 * 256 + 2 * 128 + 3 * 512 + 2 * 16) + 16 + 64 * 16;
  EXPECT_EQ(weight_bytes(*llama, 1), 4 * weights);
  EXPECT_EQ(weight_bytes(*llama, 1000), 4 * weights);
  const Work pass = forward_work(*llama, 8, 24, 3);
  EXPECT_EQ(pass.flops, 24 * flops_per_token(*llama, 8).forward);
  EXPECT_EQ(pass.bytes, 3 * 4 * weights);
  EXPECT_EQ(forward_work(*llama, 8, 0, 0).flops, 0);
  const Work reply = generation_work(*llama, formats::bf16, 10, 4);
  const double kv = 2 * 2 * 8 * 2;  // layers, key and value, width, bytes
  EXPECT_EQ(reply.bytes, 5 * 4 * weights + 10 * kv + 4 * (10 + 2 + 1) * kv);
  EXPECT_GT(reply.flops, 14 * 2.0 * static_cast<double>(count_parameters(*llama).active));

  // Of the experts one token meets its share, many tokens all of them.
  const auto sparse = create_model(preset_config("nano"));
  double all = 0, met = 0;
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    if (info.mtp || info.role == Role::embedding) return;
    all += static_cast<double>(value.bytes());
    met += static_cast<double>(value.bytes()) * info.activity;
  });
  sparse->visit(each);
  const auto table = static_cast<double>(sparse->head().bytes());  // tied: the embedding's, read as a head
  EXPECT_NEAR(weight_bytes(*sparse, 1), met + table, 1);
  EXPECT_NEAR(weight_bytes(*sparse, 1000), all + table, 1);
  EXPECT_LT(met, all);
}

// What Huawei says of its models: 1 B and 7 B without the embedding (model cards), 72 B of which 16 B meet a
// token (arXiv 2505.21411), 718 B without the embedding, 39 B of them (2505.04519).
TEST(Counts, Pangu) {
  const auto billions = [](const char* preset) {
    const auto model = create_model(preset_config(preset));
    return count_parameters(*model);
  };
  const ParameterCounts one = billions("pangu-embedded-1b"), seven = billions("pangu-embedded-7b"),
                        pro = billions("pangu-pro-moe-72b"), ultra = billions("pangu-ultra-moe-718b");
  EXPECT_NEAR(static_cast<double>(one.total - one.embedding) / 1e9, 0.92, 0.005);
  EXPECT_NEAR(static_cast<double>(seven.total - 2 * seven.embedding) / 1e9, 6.77, 0.005);
  EXPECT_NEAR(static_cast<double>(pro.total) / 1e9, 71.99, 0.005);
  EXPECT_NEAR(static_cast<double>(pro.active + pro.embedding) / 1e9, 16.50, 0.005);
  EXPECT_NEAR(static_cast<double>(ultra.total - ultra.embedding) / 1e9, 717.91, 0.005);
  EXPECT_NEAR(static_cast<double>(ultra.active) / 1e9, 39.19, 0.005);
  EXPECT_EQ(kv_bytes_per_token(*create_model(preset_config("pangu-ultra-moe-718b")), formats::bf16), 70272);
}

// The first release of Ultra-MoE had other names for some keys; what is saved has the current ones.
TEST(Config, PanguUltraMoeTakesTheOldNames) {
  Json config = preset_config("pangu-ultra-moe-718b");
  for (const auto& [now, old] : {std::pair{"kv_lora_rank", "attention_kv_lora_dim"},
                                 {"qk_nope_head_dim", "attention_qk_dim"},
                                 {"n_routed_experts", "num_routed_experts"},
                                 {"num_nextn_predict_layers", "num_mtp_layers"}}) {
    config[old] = config[now];
    config.erase(now);
  }
  const Json saved = create_model(config)->config();
  EXPECT_EQ(saved, create_model(preset_config("pangu-ultra-moe-718b"))->config());
  EXPECT_FALSE(saved.contains("attention_qk_dim"));
  EXPECT_EQ(saved["architectures"][0], "PanguUltraMoEForCausalLM");
}

TEST(Counts, GptOss) {  // the model card: 20.91 B of which 3.61 B active, 116.83 B of which 5.13 B
  const auto small = create_model(preset_config("gpt-oss-20b"));
  const ParameterCounts counts = count_parameters(*small);
  EXPECT_NEAR(static_cast<double>(counts.total) / 1e9, 20.91, 0.005);
  EXPECT_NEAR(static_cast<double>(counts.active) / 1e9, 3.61, 0.01);
  const auto large = create_model(preset_config("gpt-oss-120b"));
  EXPECT_NEAR(static_cast<double>(count_parameters(*large).total) / 1e9, 116.83, 0.005);
  EXPECT_NEAR(static_cast<double>(count_parameters(*large).active) / 1e9, 5.13, 0.01);
}

TEST(Presets, AllBuild) {
  for (const Preset& preset : all_presets()) {
    const auto model = create_model(preset_config(preset.name));
    EXPECT_GT(count_parameters(*model).total, 0) << preset.name;
  }
  EXPECT_THROW(preset_config("nanoo"), UsageError);
}

TEST(Config, RoundTripsAndKeepsUnknownKeys) {
  Json config = preset_config("nano");
  config["future_key"] = 1;
  const Json out = create_model(config)->config();
  EXPECT_EQ(out["future_key"], 1);
  EXPECT_EQ(out["architectures"][0], "DeepseekV3ForCausalLM");
  EXPECT_EQ(create_model(out)->config(), out);
}

TEST(Config, ImpossibleDimensionsAreOneClearError) {
  const auto message = [](const char* preset, const char* key, Json value) {
    Json config = preset_config(preset);
    config[key] = std::move(value);
    try {
      create_model(config);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_EQ(message("nano", "num_experts_per_tok", 9),
            "config of deepseek_v3: num_experts_per_tok = 9 is more than n_routed_experts = 8");
  EXPECT_EQ(message("nano", "n_group", 3),
            "config of deepseek_v3: n_group = 3 does not divide n_routed_experts = 8");
  EXPECT_EQ(message("nano", "hidden_size", -4),
            "config of deepseek_v3: hidden_size = -4; expected at least 1");
  EXPECT_EQ(message("nano", "qk_rope_head_dim", 7),
            "the rotated width of a head is 7; expected an even number from 2 to 65536");
  EXPECT_EQ(message("dense-nano", "num_key_value_heads", 3),
            "config of llama: num_key_value_heads = 3 does not divide num_attention_heads = 4");
  EXPECT_EQ(message("nano", "num_hidden_layers", 100'000'000),
            "config of deepseek_v3: num_hidden_layers = 100000000; expected at most 4096");
  EXPECT_EQ(message("dense-nano", "hidden_size", UINT64_MAX),
            "config of llama: hidden_size = 9223372036854775807; expected at most 262144");
  EXPECT_EQ(
      message("nano", "n_routed_experts", 100'000),
      "config of deepseek_v3: n_routed_experts = 100000 in each of 4 layers; expected at most 131072 in all");
  EXPECT_EQ(message("nano", "model_type", "gptx"),
            "config.json: model_type 'gptx' is not supported; supported: deepseek_v3, deepseek_v2, llama, "
            "mistral, qwen2, qwen3, qwen2_moe, qwen3_moe, gpt2, PanguEmbedded, PanguProMoE, pangu_ultra_moe, "
            "gpt_oss, mixtral");
  EXPECT_EQ(message("pangu-pro-moe-72b", "num_experts_per_tok", 7),
            "config of PanguProMoE: num_experts_per_tok = 7 does not divide num_experts = 64");
  EXPECT_EQ(
      message("pangu-ultra-moe-718b", "num_dense_layers", 4),
      "config of pangu_ultra_moe: num_dense_layers = 4 and first_k_dense_replace = 3 contradict each other; "
      "leave one out");
  EXPECT_EQ(
      message("pangu-ultra-moe-718b", "rope_scaling", Json{{"type", "yarn"}, {"factor", 4}}),
      "config of pangu_ultra_moe: scaled rotary frequencies are not supported; expected rope_scaling = null");
  EXPECT_EQ(message("pangu-ultra-moe-718b", "attention_bias", true),
            "config of pangu_ultra_moe: attention_bias = true is not supported; expected false");
  EXPECT_NE(message("nano", "rope_scaling", Json{{"type", "ntk"}}).find("unknown rope_type 'ntk'"),
            std::string::npos);
}

// A config.json is a file from somewhere: whatever its numbers, it is a model that can be counted or an
// Error, and its description takes no more memory than real models do.
TEST(Config, AnyNumberIsAModelOrAnError) {
  for (const Architecture* architecture : all_architectures()) {
    Json small;
    small["model_type"] = architecture->model_type;
    small["num_hidden_layers"] = small["n_layer"] = 2;
    const Json known = create_model(small)->config();
    for (const auto& [key, value] : known.items()) {
      if (!value.is_number()) continue;
      for (const int64_t number : {INT64_MAX, INT64_MIN, int64_t{1} << 40, int64_t{1} << 31, int64_t{1} << 24,
                                   int64_t{4097}, int64_t{1}, int64_t{0}, int64_t{-1}}) {
        Json config = known;
        config[key] = number;
        SCOPED_TRACE(fmt::format("{}: {} = {}", architecture->model_type, key, number));
        try {
          const auto model = create_model(config);
          EXPECT_GT(count_parameters(*model).total, 0);
          EXPECT_GE(kv_bytes_per_token(*model, formats::bf16), 0);
        } catch (const Error&) {
        }
      }
    }
  }
}

TEST(Config, DefaultsCountWhereSizesAreJudged) {
  const auto message = [](const Json& config) {
    try {
      create_model(config);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_EQ(
      message({{"model_type", "deepseek_v3"}, {"num_hidden_layers", 4000}}),
      "config of deepseek_v3: n_routed_experts = 256 in each of 4000 layers; expected at most 131072 in all");
  EXPECT_EQ(message({{"model_type", "llama"}, {"bos_token_id", int64_t{1} << 40}}),
            "config: bos_token_id = 1099511627776, which is no token id");
}

TEST(Initialise, IsTheSameForAnyNumberOfThreads) {
  std::vector<float> first[2];
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    Context ctx{pool, kernels::best()};
    auto model = create_model(preset_config("nano"));
    initialise(ctx, *model, 7);
    double square = 0;
    EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
      if (name == "model.embed_tokens.weight")
        first[threads / 2].assign(value.f32(), value.f32() + value.size());
      const bool flat = info.role == Role::norm || info.role == Role::buffer;
      EXPECT_TRUE(!flat || value.f32()[0] == (info.role == Role::norm ? 1.0f : 0.0f)) << name;
    });
    model->visit(each);
    for (const float x : first[threads / 2]) square += x * x;
    EXPECT_NEAR(std::sqrt(square / static_cast<double>(first[threads / 2].size())), 0.02, 2e-4);
  }
  EXPECT_EQ(first[0], first[1]);
}

}  // namespace
}  // namespace frugal
