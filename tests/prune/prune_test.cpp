// Pruned models: what mattered to nothing can be left out without a trace, in every family; importance
// against sums by hand; what is refused.
#include "prune/prune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "io/parameters.h"
#include "kernels/dispatch.h"

namespace frugal {
namespace {

class PruneTest : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};

  static Json config(const std::string& name) {
    return read_json_file(fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/models" / name / "config.json");
  }
  // Larger weights than at the start of training, so that every part does something.
  std::unique_ptr<Model> model(Json json) {
    json["initializer_range"] = 0.2;
    auto net = create_model(json);
    initialise(ctx_, *net, 5);
    return net;
  }
  static ValidationWindows text(const Model& model, int64_t tokens = 96, int64_t length = 24) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < tokens; ++i)
      ids.push_back(static_cast<int32_t>((i * i + 3 * i) % model.shape().vocab_size));
    return {TokenSet::from_memory({ids}, {tokens}),
            {.framing = {.bos_id = -1, .eos_id = -1}, .length = length}};
  }
  static std::map<std::string, Tensor*> parameters(Model& model) {
    std::map<std::string, Tensor*> all;
    for (const auto& p : ParameterList(model).parameters) all[p.name] = p.value;
    return all;
  }
  static void fill_rows(Tensor& matrix, std::initializer_list<int64_t> rows, float value = 0) {
    const int64_t width = matrix.shape().size() == 1 ? 1 : matrix.cols();
    for (const int64_t row : rows) std::fill_n(matrix.f32() + row * width, width, value);
  }
  static void zero_column(Tensor& matrix, int64_t column) {
    for (int64_t r = 0; r < matrix.rows(); ++r) matrix.f32()[r * matrix.cols() + column] = 0;
  }
  std::vector<float> run(Model& net) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 20; ++i)
      ids.push_back((7 * i + 3) % static_cast<int32_t>(net.shape().vocab_size));
    const Hidden hidden = net.forward(ctx_, Batch::single(ids), nullptr);
    const Tensor all = logits(ctx_, net, hidden.normed);
    std::vector<float> values(all.values().begin(), all.values().end());
    if (net.shape().mtp_depth > 0) {  // the module speaks of the tokens after
      const Hidden further = net.mtp(ctx_, hidden.before_norm, Batch::single(ids), 1);
      const Tensor more = logits(ctx_, net, further.normed);
      values.insert(values.end(), more.values().begin(), more.values().end());
    }
    return values;
  }
  PrunePlan plan(Model& net, const PruneRequest& request) {
    ValidationWindows windows = text(net);
    return plan_pruning(net, request, measure_unit_importance(ctx_, net, windows, 2));
  }
  // Pruning so changes no logit, and takes parameters away.
  void expect_unchanged(Model& net, const PruneRequest& request, double tolerance = 2e-5) {
    const std::vector<float> before = run(net);
    const auto pruned = prune_model(ctx_, net, plan(net, request), formats::f32);
    const std::vector<float> after = run(*pruned);
    EXPECT_LT(count_parameters(*pruned).total, count_parameters(net).total);
    ASSERT_EQ(before.size(), after.size());
    double worst = 0, most = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(before[i]) - after[i]));
      most = std::max(most, std::abs(static_cast<double>(before[i])));
    }
    EXPECT_LT(worst, tolerance * most);
    EXPECT_GT(most, 0.01);
  }
  template <class F>
  static void expect_refused(F f, const std::string& part) {
    try {
      f();
      ADD_FAILURE() << "no error: " << part;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  void expect_refused(const std::string& name, const PruneRequest& request, const std::string& part) {
    const auto net = model(config(name));
    expect_refused([&] { check(*net, request); }, part);
  }
};

TEST_F(PruneTest, LayersThatDoNothing) {
  for (const char* name :
       {"llama_gqa", "v3_full", "qwen3_moe", "gpt2", "mixtral", "qwen2_window", "gpt_oss"}) {
    SCOPED_TRACE(name);
    Json json = config(name);
    json[json.contains("n_layer") ? "n_layer" : "num_hidden_layers"] = 4;
    if (json.contains("layer_types"))
      json["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention", "full_attention"};
    const auto net = model(json);
    std::set<std::string> seen;
    for (const auto& [parameter, value] : parameters(*net)) {  // layers 0 and 2 add nothing
      const bool idle = parameter.find(".0.") == parameter.find_first_of("0123456789") - 1 ||
                        parameter.find(".2.") == parameter.find_first_of("0123456789") - 1;
      for (const char* out : {"o_proj", "down_proj", "c_proj", "w2"}) {
        if (idle && parameter.find(std::string(".") + out + ".") != std::string::npos)
          std::fill_n(value->f32(), value->size(), 0.0f);
      }
    }
    const PrunePlan kept = plan(*net, {.layers = 2});
    EXPECT_EQ(kept.layers, (std::vector<int64_t>{1, 3}));
    if (json.contains("layer_types")) {
      EXPECT_EQ(kept.config["layer_types"], Json({"full_attention", "full_attention"}));
    }
    for (const char* key : {"first_k_dense_replace", "max_window_layers"}) {  // both count layer 0 alone
      if (json.contains(key)) {
        EXPECT_EQ(kept.config[key], 0) << key;
      }
    }
    expect_unchanged(*net, {.layers = 2}, 1e-6);
  }
}

TEST_F(PruneTest, HeadsThatSayNothing) {
  // A whole group of grouped queries, then one query of each group.
  for (const char* name : {"llama_gqa", "qwen3", "llama_bias", "gpt_oss", "pangu_pro_moe"}) {
    SCOPED_TRACE(name);
    Json json = config(name);
    json["num_key_value_heads"] = 2;
    const auto net = model(json);
    const int64_t width = parameters(*net).at("model.layers.0.self_attn.v_proj.weight")->dim(0) / 2;
    for (const auto& [parameter, value] : parameters(*net)) {
      if (parameter.find(".v_proj.") == std::string::npos) continue;
      const int64_t group = parameter.find("layers.1.") != std::string::npos ? 1 : 0;
      for (int64_t r = 0; r < width; ++r) fill_rows(*value, {group * width + r});
    }
    const PrunePlan kept = plan(*net, {.kv_heads = 1});
    EXPECT_EQ(kept.kv_heads.at(0), (std::vector<int64_t>{1}));
    EXPECT_EQ(kept.heads.at(0), (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(kept.kv_heads.at(1), (std::vector<int64_t>{0}));
    EXPECT_EQ(kept.config["num_attention_heads"], 2);
    EXPECT_EQ(kept.config["head_dim"], width);
    expect_unchanged(*net, {.kv_heads = 1});
    const PrunePlan fewer = plan(*net, {.heads = 2});
    EXPECT_TRUE(fewer.kv_heads.empty());  // both groups stay, with one query each
    EXPECT_LT(fewer.heads.at(0)[0], 2);
    EXPECT_GE(fewer.heads.at(0)[1], 2);
  }
  // Latent attention, with and without a latent of the queries.
  for (const char* name : {"v3_full", "v2_grouped", "mtp_d1"}) {
    SCOPED_TRACE(name);
    Json json = config(name);
    json["num_attention_heads"] = json["num_key_value_heads"] = 4;
    const auto net = model(json);
    for (const auto& [parameter, value] : parameters(*net)) {
      if (!parameter.ends_with("kv_b_proj.weight")) continue;
      const int64_t nope = json["qk_nope_head_dim"], v = json["v_head_dim"];
      for (const int64_t head : {0, 2}) {
        for (int64_t r = 0; r < v; ++r) fill_rows(*value, {head * (nope + v) + nope + r});
      }
    }
    EXPECT_EQ(plan(*net, {.heads = 2}).heads.at(0), (std::vector<int64_t>{1, 3}));
    EXPECT_EQ(plan(*net, {.heads = 2}).config["num_key_value_heads"], 2);
    expect_unchanged(*net, {.heads = 2});
  }
}

TEST_F(PruneTest, NeuronsThatAreNeverActive) {
  struct Case {
    const char* name;
    PruneRequest request;
    std::vector<std::string> parts;
  };
  const Case cases[] = {
      {"llama_gqa", {.intermediate_size = 37}, {".mlp.up_proj."}},
      {"llama_bias", {.intermediate_size = 37}, {".mlp.up_proj."}},
      {"gpt2", {.intermediate_size = 125}, {".mlp.c_fc."}},
      {"v3_full", {.intermediate_size = 21}, {".mlp.up_proj."}},
      {"v3_full", {.moe_intermediate_size = 2}, {".experts.", ".shared_experts."}},
      {"mtp_d1", {.moe_intermediate_size = 2}, {".experts.", ".shared_experts."}},
      {"mixtral", {.intermediate_size = 17}, {".w3."}},
      {"qwen2_moe", {.shared_expert_intermediate_size = 17}, {".shared_expert."}},
  };
  for (const auto& [name, request, parts] : cases) {
    SCOPED_TRACE(name);
    const auto net = model(config(name));
    int64_t touched = 0;
    for (const auto& [parameter, value] : parameters(*net)) {
      const bool here = std::ranges::any_of(
          parts, [&](const std::string& part) { return parameter.find(part) != std::string::npos; });
      if (!here) continue;
      if (parameter.find(".c_fc.weight") != std::string::npos) {
        for (const int64_t neuron : {0, 3, 4}) zero_column(*value, neuron);
      } else if (parameter.find("up_proj") != std::string::npos ||
                 parameter.find("w3") != std::string::npos || parameter.find("c_fc") != std::string::npos) {
        fill_rows(*value, {0, 3, 4});
      }
      ++touched;
    }
    ASSERT_GT(touched, 0);
    expect_unchanged(*net, request);
  }
}

TEST_F(PruneTest, ExpertsThatNobodyIsSentTo) {
  struct Case {
    const char* name;
    const char* bias;
    std::vector<int64_t> idle;
    PruneRequest request;
  };
  const Case cases[] = {
      // One of each of four groups; its gate's rows and its bias go as well.
      {"v3_full", "e_score_correction_bias", {1, 3, 6, 11}, {.experts = 8}},
      {"mtp_d1", "e_score_correction_bias", {1, 3}, {.experts = 4}},
      {"gpt_oss", "router.bias", {0, 3}, {.experts = 3}},
  };
  for (const auto& [name, bias, idle, request] : cases) {
    SCOPED_TRACE(name);
    const auto net = model(config(name));
    for (const auto& [parameter, value] : parameters(*net)) {
      if (!parameter.ends_with(bias)) continue;
      for (int64_t e = 0; e < value->size(); ++e) value->f32()[e] = 0.1f * static_cast<float>(e % 3);
      for (const int64_t e : idle) fill_rows(*value, {e}, -1e4f);
    }
    const PrunePlan kept = plan(*net, request);
    ASSERT_FALSE(kept.experts.empty());
    for (const auto& [layer, experts] : kept.experts) {
      for (const int64_t e : idle) EXPECT_EQ(std::ranges::count(experts, e), 0) << layer;
    }
    EXPECT_DOUBLE_EQ(kept.kept.at("experts"), 1);
    expect_unchanged(*net, request);
  }
}

TEST_F(PruneTest, ChannelsThatAreAlwaysZero) {
  for (const char* name :
       {"llama_gqa", "llama_bias", "v3_full", "v3_tied", "qwen3_moe", "mtp_d1", "gpt_oss"}) {
    SCOPED_TRACE(name);
    const auto net = model(config(name));
    for (const auto& [parameter, value] : parameters(*net)) {
      const auto is = [&](const char* part) { return parameter.find(part) != std::string::npos; };
      if (is("layernorm.weight") || is("norm.weight")) {  // scales are not all alike
        for (int64_t i = 0; i < value->size(); ++i) value->f32()[i] = 0.5f + 0.1f * static_cast<float>(i % 7);
      }
      for (const int64_t channel : {2, 17}) {
        if (is("embed_tokens")) zero_column(*value, channel);
        if (is("o_proj") || is("down_proj") || is("eh_proj")) fill_rows(*value, {channel});
      }
    }
    const PrunePlan kept = plan(*net, {.hidden_size = 30});
    EXPECT_EQ(std::ranges::count(kept.channels, 2) + std::ranges::count(kept.channels, 17), 0);
    expect_unchanged(*net, {.hidden_size = 30}, 2e-4);  // epsilon counts a little more over fewer channels
  }
}

TEST_F(PruneTest, AllAtOnceAndOfAnotherFormat) {
  const PruneRequest request{.layers = 2,
                             .heads = 1,
                             .experts = 8,
                             .experts_per_token = 2,
                             .hidden_size = 24,
                             .intermediate_size = 12,
                             .moe_intermediate_size = 3};
  const auto net = model(config("v3_full"));
  const PrunePlan what = plan(*net, request);
  const auto pruned = prune_model(ctx_, *net, what, formats::f32);
  EXPECT_EQ(pruned->shape().layers, 2);
  EXPECT_EQ(pruned->shape().hidden_size, 24);
  EXPECT_EQ(pruned->config()["n_routed_experts"], 8);
  EXPECT_EQ(pruned->config()["num_experts_per_tok"], 2);
  for (const float x : run(*pruned)) ASSERT_TRUE(std::isfinite(x));
  for (const auto& [name, share] : what.kept) {
    EXPECT_GT(share, 0) << name;
    EXPECT_LT(share, 1) << name;
  }
  EXPECT_EQ(what.kept.size(), 4u);
  // Rows of a block format are decoded and become what is asked for; others keep theirs.
  auto packed = model(config("llama_gqa"));
  for (const auto& [name, value] : parameters(*packed)) {
    if (value->cols() % 32 != 0 || value->shape().size() < 2) continue;
    const Format& format = name.find("lm_head") != std::string::npos ? formats::bf16 : formats::q8_0;
    Tensor stored = Tensor::empty(ctx_, value->shape(), format);
    format.encode(value->f32(), stored.data(), value->size());
    *value = stored;
  }
  const auto small =
      prune_model(ctx_, *packed, plan(*packed, {.hidden_size = 16, .intermediate_size = 32}), formats::bf16);
  EXPECT_EQ(parameters(*small).at("model.layers.0.mlp.up_proj.weight")->format().name, "bf16");
  EXPECT_EQ(parameters(*small).at("lm_head.weight")->format().name, "bf16");
  EXPECT_EQ(parameters(*small).at("model.norm.weight")->format().name, "f32");
}

TEST_F(PruneTest, ImportanceIsWhatItSays) {
  const auto net = model(config("v3_full"));
  ValidationWindows windows = text(*net);
  const UnitImportance found = measure_unit_importance(ctx_, *net, windows, 2);
  EXPECT_EQ(found.tokens, 95);  // the last token is only predicted
  ASSERT_EQ(found.blocks.size(), 3u);
  // Of the first block by hand: it takes in the embedding, so a model of one layer gives what it puts out.
  Json one = config("v3_full");
  one["num_hidden_layers"] = 1;
  const auto first = model(one);
  const auto all = parameters(*net);
  for (const auto& [name, value] : parameters(*first)) {
    if (all.contains(name)) *value = *all.at(name);
  }
  windows.rewind();
  double cosines = 0;
  int64_t rows = 0;
  while (const auto batch = windows.next(1)) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < batch->tokens.size() && batch->targets[i] >= 0; ++i)
      ids.push_back(batch->tokens[i]);
    const Hidden out = first->forward(ctx_, Batch::single(ids), nullptr);
    const Tensor in = ops::embedding(ctx_, ids, *all.at("model.embed_tokens.weight"));
    for (int64_t r = 0; r < in.rows(); ++r, ++rows) {
      double ab = 0, aa = 0, bb = 0;
      for (int64_t c = 0; c < in.cols(); ++c) {
        const double a = in.f32()[r * in.cols() + c], b = out.before_norm.f32()[r * in.cols() + c];
        ab += a * b, aa += a * a, bb += b * b;
      }
      cosines += ab / std::sqrt(aa * bb);
    }
  }
  EXPECT_EQ(rows, 95);
  EXPECT_NEAR(found.blocks[0], 1 - cosines / static_cast<double>(rows), 1e-6);
  for (const auto& [layer, shares] : found.experts) {
    double sum = 0;
    for (const double share : shares) sum += share;
    EXPECT_NEAR(sum, 1, 1e-12) << layer;
  }
  EXPECT_EQ(found.heads.size(), 3u);
  EXPECT_EQ(found.norm_squares.size(), 7u);  // two a block and the last
  // Threads do not matter.
  ThreadPool single(1);
  Context alone{single, kernels::best()};
  const UnitImportance again = measure_unit_importance(alone, *net, windows, 2);
  EXPECT_EQ(again.neurons, found.neurons);
  EXPECT_EQ(again.heads, found.heads);
  EXPECT_EQ(again.channels, found.channels);
}

TEST_F(PruneTest, LossSaysWhichLayerIsMissed) {
  Json json = config("llama_gqa");
  json["num_hidden_layers"] = 3;
  const auto net = model(json);
  const auto all = parameters(*net);
  for (const char* name : {"self_attn.o_proj", "mlp.down_proj"}) {
    Tensor& matrix = *all.at(fmt::format("model.layers.1.{}.weight", name));
    std::fill_n(matrix.f32(), matrix.size(), 0.0f);
  }
  ValidationWindows windows = text(*net);
  const std::vector<double> growth = loss_without_layers(ctx_, *net, windows, 2);
  ASSERT_EQ(growth.size(), 3u);
  EXPECT_DOUBLE_EQ(growth[1], 0);
  EXPECT_NE(growth[0], 0);
  windows.rewind();
  const UnitImportance importance = measure_unit_importance(ctx_, *net, windows, 2);
  const PrunePlan by_loss = plan_pruning(*net, {.layers = 2}, importance, {5, 1, 7});
  EXPECT_EQ(by_loss.layers, (std::vector<int64_t>{0, 2}));
}

TEST_F(PruneTest, WhatCannotBeCut) {
  expect_refused("llama_gqa", {}, "say what to keep");
  expect_refused("llama_gqa", {.layers = 3}, "--layers 3: the model has 2; expected 1 to 2");
  expect_refused("llama_gqa", {.heads = 0}, "--heads 0: the model has 4; expected 1 to 4");
  expect_refused("llama_gqa", {.heads = 3}, "expected a multiple of 2");
  expect_refused("llama_gqa", {.heads = 3, .kv_heads = 2}, "--kv-heads 2: expected 1 to 2 query heads");
  expect_refused("llama_gqa", {.experts = 2}, "--experts: a model of type llama has no such size");
  expect_refused("llama_gqa", {.moe_intermediate_size = 2}, "--moe-intermediate-size: a model of type llama");
  expect_refused("v3_full", {.kv_heads = 1}, "its keys and values are latents");
  expect_refused("v3_full", {.experts = 6}, "expected a multiple of 4");
  expect_refused("v3_full", {.experts = 4}, "num_experts_per_tok = 3");
  expect_refused("qwen3_moe", {.intermediate_size = 20}, "no feed-forward of this model has that width");
  expect_refused("pangu_pro_moe", {.experts_per_token = 1}, "one of every group");
  expect_refused("gpt2", {.heads = 1}, "--heads: a model of type gpt2 has no such size");
  expect_refused("gpt2", {.hidden_size = 16}, "--hidden-size: a model of type gpt2 has no such size");
  expect_refused("pangu_ultra_moe", {.hidden_size = 16}, "cannot be cut there");
}

}  // namespace
}  // namespace frugal
