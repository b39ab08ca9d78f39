// Every golden model through a GGUF file: the same logits from mapped weights, the same values when copied.
#include "io/gguf_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "io/gguf_layout.h"
#include "io/gguf_save.h"
#include "io/model_files.h"
#include "models/gguf_family.h"
#include "models/golden.h"
#include "tensor/block_scales.h"

namespace frugal {
namespace {

class GgufModels : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};
  fs::path dir_ = fs::temp_directory_path() / fmt::format("frugal_gguf_models_{}", ::getpid());
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path written(const std::string& name, const Format* format = nullptr) {
    const auto model = load_model(ctx_, golden_path("models/" + name), Weights::mapped_hf);
    const fs::path path = dir_ / (name + ".gguf");
    GgufSaveOptions options;
    options.format = format;
    save_gguf(ctx_, path, *model, {}, options);
    return path;
  }
  std::vector<float> logits_of(Model& model, const GoldenBatch& ids) {
    const Hidden hidden = model.forward(ctx_, ids.batch(), nullptr);
    const Tensor out = logits(ctx_, model, hidden.normed);
    return {out.values().begin(), out.values().end()};
  }
  std::string message(const fs::path& path, Weights weights = Weights::mapped) {
    try {
      load_model(ctx_, path, weights);
    } catch (const UsageError& error) {
      return std::string("usage: ") + error.what();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  // A copy of `path` with other metadata or tensors.
  struct Changes {
    std::function<void(const GgufField&, GgufMetadata&)> field = [](const GgufField& f, GgufMetadata& m) {
      m.copy(f);
    };
    std::function<bool(const GgufEntry&)> keep = [](const GgufEntry&) { return true; };
    std::vector<std::pair<GgufDeclaration, std::vector<float>>> extra;  // f32
  };
  fs::path changed(const fs::path& path, const Changes& changes) {
    const GgufFile file(path);
    GgufMetadata metadata;
    for (const GgufField& field : file.metadata()) changes.field(field, metadata);
    std::vector<GgufDeclaration> tensors;
    for (const GgufEntry& entry : file.entries()) {
      if (changes.keep(entry)) tensors.push_back({entry.name, entry.format, entry.shape});
    }
    for (const auto& [declaration, values] : changes.extra) tensors.push_back(declaration);
    const fs::path out = dir_ / "changed.gguf";
    GgufWriter writer(out, metadata, tensors);
    for (const GgufEntry& entry : file.entries()) {
      if (changes.keep(entry)) writer.write(entry.name, entry.data);
    }
    for (const auto& [declaration, values] : changes.extra) {
      writer.write(declaration.name, std::as_bytes(std::span(values)));
    }
    writer.commit();
    return out;
  }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
#define EXPECT_CONTAINS(text, part) EXPECT_TRUE(contains(text, part)) << text

std::map<std::string, std::vector<float>> values_of(Model& model) {
  std::map<std::string, std::vector<float>> out;
  EachParameter each(
      [&](const std::string& name, Tensor& value, const ParameterInfo&) { out[name] = value.decoded(); });
  model.visit(each);
  return out;
}

constexpr const char* kCases[] = {"gpt2",           "gpt2_untied",    "llama31_tied",
                                  "llama_bias",     "llama_gqa",      "smollm",
                                  "mistral_window", "mtp_d1",         "mtp_d2",
                                  "qwen2",          "qwen2_window",   "qwen2_moe",
                                  "qwen3",          "qwen3_moe",      "v2_greedy_yarn",
                                  "v2_grouped",     "v3_full",        "v3_tied",
                                  "v3_yarn",        "pangu_embedded", "pangu_embedded_tied",
                                  "gpt_oss",        "mixtral"};

TEST_F(GgufModels, EveryFamilyGivesTheSameLogits) {
  for (const std::string name : kCases) {
    SCOPED_TRACE(name);
    const fs::path path = written(name);
    const SafetensorsFile golden(golden_path("models/" + name + "/golden.safetensors"));
    const GoldenBatch ids = golden_batch(golden);
    const auto mapped = load_model(ctx_, path, Weights::mapped);
    if (golden.find("logits") != nullptr) {
      EXPECT_LT(relative_error(logits_of(*mapped, ids), floats(golden, "logits")), 1e-4);
    }
    // Rotation by adjacent pairs sums in another order; nothing else may differ.
    const auto direct = load_model(ctx_, golden_path("models/" + name), Weights::mapped);
    EXPECT_LT(relative_error(logits_of(*mapped, ids), logits_of(*direct, ids)), 1e-5);
    EXPECT_EQ(mapped->shape().mtp_depth, direct->shape().mtp_depth);
  }
}

TEST_F(GgufModels, CopiedWeightsAreTheOriginalOnes) {
  for (const std::string name : kCases) {
    SCOPED_TRACE(name);
    const fs::path path = written(name);
    const auto original = values_of(*load_model(ctx_, golden_path("models/" + name), Weights::copied_f32));
    EXPECT_EQ(values_of(*load_model(ctx_, path, Weights::copied_f32)), original);
    EXPECT_EQ(values_of(*load_model(ctx_, path, Weights::mapped_hf)), original);
  }
}

TEST_F(GgufModels, ConfigsSurvive) {
  for (const std::string name : kCases) {
    SCOPED_TRACE(name);
    const Json before = create_model(read_json_file(golden_path("models/" + name) / "config.json"))->config();
    const Json after = declare_model(written(name))->config();
    for (const char* key : {"model_type",
                            "hidden_size",
                            "num_hidden_layers",
                            "num_attention_heads",
                            "intermediate_size",
                            "rms_norm_eps",
                            "layer_norm_epsilon",
                            "tie_word_embeddings",
                            "vocab_size",
                            "n_group",
                            "topk_group",
                            "num_experts_per_tok",
                            "norm_topk_prob",
                            "scoring_func",
                            "topk_method",
                            "routed_scaling_factor",
                            "q_lora_rank",
                            "kv_lora_rank",
                            "first_k_dense_replace",
                            "num_nextn_predict_layers",
                            "attention_bias",
                            "mlp_bias",
                            "mlp_only_layers",
                            "shared_expert_intermediate_size",
                            "num_local_experts",
                            "head_dim",
                            "sliding_window",
                            "layer_types",
                            "swiglu_limit"}) {
      if (!before.contains(key) || before[key].is_null()) continue;
      EXPECT_EQ(before[key], after.value(key, Json())) << key;
    }
  }
}

TEST_F(GgufModels, Llama31FactorsAreRecognised) {
  const Json config = declare_model(written("llama31_tied"))->config();
  const Json original = read_json_file(golden_path("models/llama31_tied/config.json"));
  const Json wanted = rope_scaling_of(original), found = rope_scaling_of(config);
  EXPECT_EQ(found["rope_type"], "llama3");
  for (const char* key : {"factor", "original_max_position_embeddings"}) EXPECT_EQ(found[key], wanted[key]);
}

TEST_F(GgufModels, OtherFactorsAreListed) {
  Changes changes;
  changes.keep = [](const GgufEntry& e) { return e.name != "rope_freqs.weight"; };
  const fs::path path = written("llama31_tied");
  const GgufEntry entry = *GgufFile(path).find("rope_freqs.weight");
  const std::vector<float> factors = {1, 1.5f, 3, 7};
  std::vector<float> all(static_cast<size_t>(entry.shape[0]), 1.25f);
  std::copy_n(factors.begin(), std::min(factors.size(), all.size()), all.begin());
  changes.extra = {{{"rope_freqs.weight", &formats::f32, entry.shape}, all}};
  const fs::path other = changed(path, changes);
  const Json scaling = rope_scaling_of(declare_model(other)->config());
  EXPECT_EQ(scaling["rope_type"], "longrope");
  EXPECT_EQ(scaling["long_factor"].size(), all.size());
  // And they come back from a second file.
  const auto model = load_model(ctx_, other, Weights::mapped_hf);
  save_gguf(ctx_, dir_ / "again.gguf", *model, {}, {});
  const Tensor again = [&] {
    const GgufEntry e = *GgufFile(dir_ / "again.gguf").find("rope_freqs.weight");
    return Tensor::alias(e.shape, *e.format, e.data.data(), e.file);
  }();
  EXPECT_EQ(again.decoded(), all);
  all[0] = -1;
  changes.extra[0].second = all;
  EXPECT_CONTAINS(message(changed(path, changes)), "rope_freqs.weight holds -1");
}

TEST_F(GgufModels, QuantisedRowsMoveWhole) {
  for (const std::string name : {"llama_gqa", "llama31_tied", "qwen3_moe"}) {
    SCOPED_TRACE(name);
    const fs::path path = written(name, &formats::q8_0);
    const SafetensorsFile golden(golden_path("models/" + name + "/golden.safetensors"));
    const GoldenBatch ids = golden_batch(golden);
    const auto mapped = load_model(ctx_, path, Weights::mapped);
    const auto hf = load_model(ctx_, path, Weights::mapped_hf);
    const auto copied = load_model(ctx_, path, Weights::copied_f32);
    EXPECT_EQ(&mapped->head().format(), &formats::q8_0);
    const auto from_mapped = logits_of(*mapped, ids);
    EXPECT_LT(relative_error(from_mapped, logits_of(*hf, ids)), 1e-5);
    EXPECT_LT(relative_error(from_mapped, logits_of(*copied, ids)), 1e-4);
    EXPECT_LT(relative_error(from_mapped, floats(golden, "logits")), 0.2);
  }
}

TEST_F(GgufModels, MappedMatricesAreNotCopied) {
  const fs::path path = written("llama_gqa");
  const auto model = load_model(ctx_, path, Weights::mapped);
  EXPECT_TRUE(model->layout().adjacent_pairs);
  EXPECT_THROW(save_model(dir_ / "out", *model, {}), std::logic_error);
  EXPECT_FALSE(fs::exists(dir_ / "out" / "model.safetensors"));
}

// Files of before April 2025: kv_b in one piece, head sizes under key_length.
TEST_F(GgufModels, OldLatentAttentionFiles) {
  const std::string name = "v3_full";
  const fs::path path = written(name);
  const auto original = load_model(ctx_, golden_path("models/" + name), Weights::copied_f32);
  Changes changes;
  changes.keep = [](const GgufEntry& e) {
    return !contains(e.name, "attn_k_b") && !contains(e.name, "attn_v_b");
  };
  EachParameter each([&](const std::string& parameter, Tensor& value, const ParameterInfo&) {
    if (!parameter.ends_with("kv_b_proj.weight")) return;
    const std::string to = with_layer("blk.{}.attn_kv_b.weight", numbered(parameter).numbers[0]);
    changes.extra.push_back({{to, &formats::f32, value.shape()}, value.decoded()});
  });
  original->visit(each);
  changes.field = [](const GgufField& field, GgufMetadata& m) {
    if (contains(field.key, "_mla")) return;
    if (contains(field.key, "key_length")) return m.add(field.key, uint32_t{20});
    if (contains(field.key, "value_length")) return m.add(field.key, uint32_t{14});
    m.copy(field);
  };
  const fs::path old = changed(path, changes);
  EXPECT_EQ(values_of(*load_model(ctx_, old, Weights::copied_f32)), values_of(*original));
  const SafetensorsFile golden(golden_path("models/" + name + "/golden.safetensors"));
  const auto mapped = load_model(ctx_, old, Weights::mapped);
  EXPECT_LT(relative_error(logits_of(*mapped, golden_batch(golden)), floats(golden, "logits")), 1e-4);
}

// Files of before April 2024: a tensor for each expert.
TEST_F(GgufModels, OldMixtralFiles) {
  const fs::path path = written("mixtral", &formats::q8_0);
  const auto original = load_model(ctx_, path, Weights::mapped);
  Changes changes;
  changes.keep = [](const GgufEntry& e) { return !contains(e.name, "_exps."); };
  EachParameter each([&](const std::string& parameter, Tensor& value, const ParameterInfo& info) {
    if (info.role != Role::expert) return;
    const std::vector<int64_t> numbers = numbered(parameter).numbers;
    const char* kind = contains(parameter, ".w1.") ? "gate" : contains(parameter, ".w3.") ? "up" : "down";
    changes.extra.push_back(
        {{fmt::format("blk.{}.ffn_{}.{}.weight", numbers[0], kind, numbers[1]), &formats::f32, value.shape()},
         value.decoded()});
  });
  original->visit(each);
  const auto old = load_model(ctx_, changed(path, changes), Weights::mapped);
  EXPECT_EQ(values_of(*old), values_of(*original));
  EXPECT_EQ(old->config()["model_type"], "mixtral");
  changes.extra.pop_back();
  EXPECT_CONTAINS(message(changed(path, changes)), "1 missing: blk.1.ffn_down_exps.weight");
}

TEST_F(GgufModels, WhatGgufCannotSayIsAnError) {
  for (const auto& [name, part] : {std::pair{"v3_halves", "rope_interleave"},
                                   {"v3_yarn_ratio", "mscale"},
                                   {"gpt_oss_wide_group", "swiglu_limit = 7.0"}}) {
    try {
      written(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_CONTAINS(std::string(error.what()), part);
    }
    EXPECT_FALSE(fs::exists(dir_ / (std::string(name) + ".gguf")));
  }
  EXPECT_THROW(written("smollm", &formats::f8_e4m3), UsageError);
  try {
    written("pangu_pro_moe");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_CONTAINS(std::string(error.what()), "GGUF has no architecture for PanguProMoE");
  }
}

// null in gpt-oss's config.json is YaRN, as transformers has it; a file without keys for it has none.
TEST_F(GgufModels, WhatGptOssTakesForNullIsWritten) {
  const fs::path from = dir_ / "null";
  fs::copy(golden_path("models/gpt_oss"), from);
  Json config = read_json_file(from / "config.json");
  config["rope_scaling"] = nullptr;
  config["layer_types"] = nullptr;
  write_json_file(from / "config.json", config);
  const auto direct = load_model(ctx_, from, Weights::mapped_hf);
  save_gguf(ctx_, dir_ / "null.gguf", *direct, {}, {});
  EXPECT_EQ(GgufFile(dir_ / "null.gguf").text("gpt-oss.rope.scaling.type"), "yarn");
  const SafetensorsFile golden(golden_path("models/gpt_oss/golden.safetensors"));
  const GoldenBatch ids = golden_batch(golden);
  const auto mapped = load_model(ctx_, dir_ / "null.gguf", Weights::mapped);
  EXPECT_LT(relative_error(logits_of(*mapped, ids), logits_of(*direct, ids)), 1e-5);
}

TEST_F(GgufModels, MissingExtraAndMisshapenTensors) {
  const fs::path path = written("qwen3_moe");
  Changes missing;
  missing.keep = [](const GgufEntry& e) { return e.name != "blk.1.ffn_up_exps.weight"; };
  EXPECT_CONTAINS(message(changed(path, missing)), "1 missing: blk.1.ffn_up_exps.weight");
  Changes extra;
  extra.extra = {{{"blk.0.surprise.weight", &formats::f32, {2, 3}}, std::vector<float>(6)}};
  EXPECT_CONTAINS(message(changed(path, extra)), "1 unexpected: blk.0.surprise.weight (2, 3)");
  Changes misshapen = missing;
  misshapen.extra = {
      {{"blk.1.ffn_up_exps.weight", &formats::f32, {7, 12, 32}}, std::vector<float>(7 * 12 * 32)}};
  EXPECT_CONTAINS(message(changed(path, misshapen)),
                  "blk.1.ffn_up_exps.weight wants (8, 12, 32), found (7, 12, 32)");
}

TEST_F(GgufModels, MetadataThatMakesNoSense) {
  const fs::path path = written("v3_full");
  const auto with = [&](const std::string& key, auto change) {
    Changes changes;
    changes.field = [&, change](const GgufField& field, GgufMetadata& m) {
      field.key == key ? change(m) : m.copy(field);
    };
    return message(changed(path, changes));
  };
  const auto dropped = [](GgufMetadata&) {};
  EXPECT_CONTAINS(with("general.architecture", dropped), "general.architecture");
  EXPECT_CONTAINS(
      with("general.architecture", [](GgufMetadata& m) { m.add("general.architecture", "mamba"); }),
      "'mamba' is not supported; supported: deepseek2, gpt-oss, gpt2, llama, pangu-embedded, qwen2");
  EXPECT_CONTAINS(with("deepseek2.embedding_length", dropped), "metadata lacks embedding_length");
  for (const uint32_t absurd : {0u, 1000u, 4000000000u}) {
    for (const std::string key :
         {"deepseek2.block_count", "deepseek2.expert_count", "deepseek2.attention.head_count",
          "deepseek2.embedding_length", "deepseek2.rope.dimension_count"}) {
      const std::string error = with(key, [&](GgufMetadata& m) { m.add(key, absurd); });
      EXPECT_NE(error, "no error") << key << " = " << absurd;
      EXPECT_FALSE(error.starts_with("usage")) << error;
      EXPECT_CONTAINS(error, "changed.gguf");
    }
  }
  EXPECT_CONTAINS(with("deepseek2.expert_gating_func",
                       [](GgufMetadata& m) { m.add("deepseek2.expert_gating_func", uint32_t{4}); }),
                  "expert_gating_func = 4");
  EXPECT_CONTAINS(with("deepseek2.attention.head_count",
                       [](GgufMetadata& m) { m.add("deepseek2.attention.head_count", "two"); }),
                  "should be a whole number");
}

// Any value of any key: a model or an Error that names the file, whatever else the tensors say.
TEST_F(GgufModels, AnyMetadataIsAModelOrAnError) {
  for (const std::string name : {"v3_yarn", "qwen2_moe", "llama31_tied", "gpt2", "gpt_oss"}) {
    const fs::path path = written(name);
    const GgufFile file(path);
    for (const GgufField& target : file.metadata()) {
      if (!contains(target.key, ".") || target.key.starts_with("general.q")) continue;
      const auto attempt = [&](auto value) {
        Changes changes;
        changes.field = [&](const GgufField& field, GgufMetadata& m) {
          field.key == target.key ? m.add(field.key, value) : m.copy(field);
        };
        const std::string said = message(changed(path, changes));
        if (said != "no error") {
          EXPECT_CONTAINS(said, "changed.gguf");
        }
      };
      for (const uint32_t n : {0u, 1u, 3u, 4097u, 0x7fffffffu, 0xffffffffu}) attempt(n);
      for (const float x : {0.0f, -1.0f, 1e-30f, 1e30f, INFINITY, NAN}) attempt(x);
      attempt(int64_t{-5});
      attempt(uint64_t{0xffffffffffffffff});
      attempt("text");
      attempt(true);
    }
  }
}

TEST_F(GgufModels, SplitFilesAreOpenedTogether) {
  const fs::path path = written("smollm");
  const GgufFile file(path);
  const auto part = [&](int number, int count) {
    return dir_ / fmt::format("smollm-{:05}-of-{:05}.gguf", number, count);
  };
  for (int i = 1; i <= 2; ++i) {
    GgufMetadata metadata;
    metadata.add("split.no", static_cast<uint16_t>(i - 1));
    metadata.add("split.count", uint16_t{2});
    if (i == 1) {
      for (const GgufField& field : file.metadata()) metadata.copy(field);
    }
    std::vector<const GgufEntry*> own;
    for (const GgufEntry& entry : file.entries()) {
      if ((&entry < &file.entries()[5]) == (i == 1)) own.push_back(&entry);
    }
    std::vector<GgufDeclaration> tensors;
    for (const GgufEntry* entry : own) tensors.push_back({entry->name, entry->format, entry->shape});
    GgufWriter writer(part(i, 2), metadata, tensors);
    for (const GgufEntry* entry : own) writer.write(entry->name, entry->data);
    writer.commit();
  }
  EXPECT_EQ(values_of(*load_model(ctx_, part(1, 2), Weights::copied_f32)),
            values_of(*load_model(ctx_, path, Weights::copied_f32)));
  EXPECT_CONTAINS(message(part(2, 2)), "give the first part");
  fs::remove(part(2, 2));
  EXPECT_CONTAINS(message(part(1, 2)), "part 2 of 2 is missing");
}

TEST_F(GgufModels, DirectoriesFromFiles) {
  for (const std::string name : {"llama31_tied", "gpt2", "v3_full", "qwen2_window", "gpt_oss", "mixtral"}) {
    SCOPED_TRACE(name);
    const fs::path path = written(name);
    save_model(dir_ / name, *load_model(ctx_, path, Weights::mapped_hf), read_generation_config(path));
    const SafetensorsFile golden(golden_path("models/" + name + "/golden.safetensors"));
    const auto model = load_model(ctx_, dir_ / name);
    EXPECT_LT(relative_error(logits_of(*model, golden_batch(golden)), floats(golden, "logits")), 1e-4);
  }
}

// FP8 matrices with factors are neither FP8 in GGUF nor values without their factors anywhere.
TEST_F(GgufModels, WeightsWithFactorsAreMultipliedOut) {
  const auto model = load_model(ctx_, golden_path("models/llama_gqa"), Weights::copied_f32);
  std::map<std::string, std::vector<float>> wanted;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (info.role == Role::matrix) value = fp8_with_scales(ctx_, value, 16, 8);
    wanted[name] = value.decoded();
  });
  model->visit(each);
  GgufSaveOptions options;
  options.format = &formats::f32;
  save_gguf(ctx_, dir_ / "a.gguf", *model, {}, options);
  EXPECT_EQ(values_of(*load_model(ctx_, dir_ / "a.gguf", Weights::copied_f32)), wanted);
  save_model(dir_ / "a", *model, {});
  EXPECT_EQ(values_of(*load_model(ctx_, dir_ / "a", Weights::copied_f32)), wanted);
  save_gguf(ctx_, dir_ / "b.gguf", *model, {}, {});
  const GgufFile file(dir_ / "b.gguf");
  EXPECT_EQ(file.find("blk.0.attn_v.weight")->format, &formats::bf16);
}

// MXFP4 in two parts becomes GGUF's by moving bits: the same codes and exponents.
TEST_F(GgufModels, Mxfp4IsRepacked) {
  const std::string name = "gpt_oss_mxfp4";
  const fs::path path = written(name);
  EXPECT_EQ(GgufFile(path).find("blk.1.ffn_up_exps.weight")->format, &formats::mxfp4);
  const auto original = values_of(*load_model(ctx_, golden_path("models/" + name)));
  const auto mapped = load_model(ctx_, path, Weights::mapped);
  EXPECT_EQ(values_of(*mapped), original);
  const SafetensorsFile golden(golden_path("models/" + name + "/golden.safetensors"));
  EXPECT_LT(relative_error(logits_of(*mapped, golden_batch(golden)), floats(golden, "logits")), 1e-4);
}

TEST_F(GgufModels, NamesWithNumbers) {
  const NumberedName name = numbered("model.layers.3.mlp.experts.12.up_proj.weight");
  EXPECT_EQ(name.pattern, "model.layers.{}.mlp.experts.{}.up_proj.weight");
  EXPECT_EQ(name.numbers, (std::vector<int64_t>{3, 12}));
  EXPECT_EQ(numbered("lm_head.weight").pattern, "lm_head.weight");
  EXPECT_EQ(with_layer("blk.{}.attn_q.weight", 7), "blk.7.attn_q.weight");
}

}  // namespace
}  // namespace frugal
