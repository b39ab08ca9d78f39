#include "io/model_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/golden.h"
#include "tensor/block_scales.h"

namespace frugal {
namespace {

class ModelFiles : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};
  fs::path dir_ = fs::temp_directory_path() / fmt::format("frugal_model_files_{}", ::getpid());
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path copy_of(const std::string& name) const {
    const fs::path to = dir_ / name;
    fs::create_directories(to);
    for (const char* file : {"config.json", "model.safetensors"}) {
      fs::copy_file(golden_path("models/" + name) / file, to / file, fs::copy_options::overwrite_existing);
    }
    return to;
  }
  // Rewrites the weights of `directory` as `change` says: it may edit, drop or add declarations.
  void rewrite(const fs::path& directory,
               const std::function<void(std::vector<SafetensorsDeclaration>&)>& change) {
    std::vector<SafetensorsDeclaration> tensors;
    const SafetensorsFile old(directory / "model.safetensors");
    for (const SafetensorsEntry& e : old.entries()) {
      tensors.push_back({e.name, e.dtype, e.shape});
    }
    change(tensors);
    SafetensorsWriter writer(directory / "model.safetensors", tensors);
    for (const SafetensorsDeclaration& t : writer.order()) {
      int64_t bytes = safetensors_dtype_bits(t.dtype) / 8;
      for (const int64_t d : t.shape) bytes *= d;
      writer.write(t.name, std::vector<std::byte>(static_cast<size_t>(bytes)));
    }
    writer.commit();
  }
  std::string message(const fs::path& directory) {
    try {
      load_model(ctx_, directory);
    } catch (const UsageError& error) {
      return std::string("usage: ") + error.what();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
};

std::map<std::string, std::vector<float>> values_of(Model& model) {
  std::map<std::string, std::vector<float>> out;
  EachParameter each(
      [&](const std::string& name, Tensor& value, const ParameterInfo&) { out[name] = value.decoded(); });
  model.visit(each);
  return out;
}

const std::vector<std::string> kModels = {
    "v3_full",    "v3_tied", "v3_yarn_ratio", "v2_grouped", "llama_gqa",     "smollm", "v2_greedy_yarn",
    "llama_bias", "mtp_d2",  "gpt_oss",       "mixtral",    "gpt_oss_mxfp4", "v3_fp8"};

TEST_F(ModelFiles, LogitsOfLoadedModelsAreTransformers) {
  for (const std::string& name : kModels) {
    if (name.starts_with("mtp")) continue;
    const auto model = load_model(ctx_, golden_path("models/" + name));
    const SafetensorsFile golden(golden_path("models/" + name + "/golden.safetensors"));
    const Hidden hidden = model->forward(ctx_, golden_batch(golden).batch(), nullptr);
    EXPECT_LT(relative_error(logits(ctx_, *model, hidden.normed).values(), floats(golden, "logits")), 1e-4)
        << name;
  }
}

TEST_F(ModelFiles, MappedMatricesStayInTheFile) {
  const auto model = load_model(ctx_, golden_path("models/v3_full"));
  const size_t mapped = ctx_.memory->in_use();  // norms and routing biases only
  const auto copied = load_model(ctx_, golden_path("models/v3_full"), Weights::copied_f32);
  EXPECT_EQ(values_of(*model), values_of(*copied));
  EXPECT_GT(ctx_.memory->in_use() - mapped, 4 * mapped);
  EXPECT_GT(ctx_.memory->in_use() - mapped, static_cast<size_t>(count_parameters(*copied).total) * 4);
}

TEST_F(ModelFiles, SavedInF32LoadsBackBitEqual) {
  for (const std::string& name : kModels) {
    const auto model = load_model(ctx_, golden_path("models/" + name));
    GenerationConfig generation;
    generation.bos_token_id = 0;
    generation.eos_token_id = {1};
    save_model(dir_ / name, *model, generation);
    const auto again = load_model(ctx_, dir_ / name);
    EXPECT_EQ(values_of(*again), values_of(*model)) << name;
    Json config = again->config();
    EXPECT_EQ(config["torch_dtype"], "float32");
    EXPECT_EQ(read_generation_config(dir_ / name).eos_token_id, std::vector<int64_t>{1});
    EXPECT_EQ(read_json_file(dir_ / name / "generation_config.json")["eos_token_id"], 1);
  }
}

TEST_F(ModelFiles, SavedConfigsSayWhatTransformersWouldAssumeOtherwise) {
  Json config = preset_config("nano");
  config.erase("q_lora_rank");
  const auto model = create_model(config);
  initialise(ctx_, *model, 1);
  save_model(dir_ / "nano", *model, {});
  const Json saved = read_json_file(dir_ / "nano" / "config.json");
  EXPECT_EQ(saved["num_key_value_heads"], 4);
  ASSERT_TRUE(saved.contains("q_lora_rank"));
  EXPECT_TRUE(saved["q_lora_rank"].is_null());
}

TEST_F(ModelFiles, Bf16HalvesTheFileButKeepsRoutingBiases) {
  const auto model = load_model(ctx_, golden_path("models/v3_full"));
  save_model(dir_ / "half", *model, {}, formats::bf16);
  const SafetensorsFile file(dir_ / "half" / "model.safetensors");
  for (const SafetensorsEntry& e : file.entries()) {
    EXPECT_EQ(e.dtype, e.name.ends_with("e_score_correction_bias") ? "F32" : "BF16") << e.name;
  }
  const auto half = load_model(ctx_, dir_ / "half");
  const auto a = values_of(*half), b = values_of(*model);
  for (const auto& [name, values] : b) {
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(a.at(name)[i], values[i], std::abs(values[i]) / 256) << name;
  }
  const SafetensorsFile golden(golden_path("models/v3_full/golden.safetensors"));
  const Batch batch = golden_batch(golden).batch();
  const Tensor exact = logits(ctx_, *model, model->forward(ctx_, batch, nullptr).normed);
  const Tensor rounded = logits(ctx_, *half, half->forward(ctx_, batch, nullptr).normed);
  EXPECT_LT(relative_error(rounded.values(), exact.values()), 0.5);
  EXPECT_THROW(save_model(dir_ / "x", *model, {}, formats::f16), UsageError);
}

TEST_F(ModelFiles, F16IsRead) {
  const fs::path dir = copy_of("llama_gqa");
  rewrite(dir, [](auto& tensors) {
    for (auto& t : tensors) t.dtype = "F16";
  });
  const auto model = load_model(ctx_, dir);
  EXPECT_EQ(model->head().format().name, "f16");
  const Hidden hidden = model->forward(ctx_, Batch::single({1, 2, 3}), nullptr);
  for (const float x : logits(ctx_, *model, hidden.normed).values()) EXPECT_EQ(x, 0);  // all weights are zero
}

TEST_F(ModelFiles, ErrorsListWhatIsWantedAndFound) {
  const fs::path dir = copy_of("llama_gqa");
  rewrite(dir, [](auto& tensors) {
    std::erase_if(tensors, [](const auto& t) { return t.name == "model.norm.weight"; });
    for (auto& t : tensors) {
      if (t.name == "lm_head.weight") t.shape = {3, 32};
    }
    tensors.push_back({"model.extra.weight", "F32", {2}});
  });
  EXPECT_EQ(message(dir),
            dir.string() +
                ": the weights do not fit config.json: 1 missing: model.norm.weight (32); 1 unexpected: "
                "model.extra.weight (2); 1 different: lm_head.weight wants (64, 32), found (3, 32)");
}

TEST_F(ModelFiles, RotaryTablesAndTiedCopiesAreTolerated) {
  const fs::path dir = copy_of("v3_tied");
  rewrite(dir, [](auto& tensors) {
    tensors.push_back({"lm_head.weight", "F32", {64, 32}});
    tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {4}});
  });
  EXPECT_EQ(message(dir), "no error");
}

TEST_F(ModelFiles, CheckpointsWithoutTheirMtpModulesLoad) {
  const fs::path dir = copy_of("mtp_d1");
  const int64_t layers = read_json_file(dir / "config.json")["num_hidden_layers"];
  EXPECT_EQ(load_model(ctx_, dir)->shape().mtp_depth, 1);
  rewrite(dir, [&](auto& tensors) {
    std::erase_if(tensors,
                  [&](const auto& t) { return t.name.starts_with(fmt::format("model.layers.{}.", layers)); });
  });
  EXPECT_EQ(load_model(ctx_, dir)->shape().mtp_depth, 0);
  rewrite(dir, [&](auto& tensors) {
    tensors.push_back({fmt::format("model.layers.{}.enorm.weight", layers), "F32", {32}});
  });
  EXPECT_NE(message(dir).find("missing"), std::string::npos);  // a part of them is an error
}

// gpt-oss's stacks are written as they were read: the very tensors that transformers made.
TEST_F(ModelFiles, StacksAreSavedAsTransformersHasThem) {
  const fs::path from = golden_path("models/gpt_oss");
  for (const Weights weights : {Weights::mapped, Weights::copied_f32}) {
    save_model(dir_ / "oss", *load_model(ctx_, from, weights), {});
    const SafetensorsFile before(from / "model.safetensors"), after(dir_ / "oss" / "model.safetensors");
    ASSERT_EQ(before.entries().size(), after.entries().size());
    for (const SafetensorsEntry& entry : before.entries()) {
      const SafetensorsEntry* found = after.find(entry.name);
      ASSERT_NE(found, nullptr) << entry.name;
      EXPECT_EQ(found->shape, entry.shape) << entry.name;
      EXPECT_TRUE(std::ranges::equal(found->data, entry.data)) << entry.name;
    }
  }
}

TEST_F(ModelFiles, Mxfp4StaysInTheFile) {
  const auto model = load_model(ctx_, golden_path("models/gpt_oss_mxfp4"));
  int64_t mapped = 0;
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    if (info.role == Role::expert && is_split_mxfp4(value)) mapped += value.size();
  });
  model->visit(each);
  EXPECT_EQ(mapped, 3 * 4 * 3 * 64 * 32);
  const size_t small = ctx_.memory->in_use();  // norms, biases and sinks only
  const auto copied = load_model(ctx_, golden_path("models/gpt_oss_mxfp4"), Weights::copied_f32);
  EXPECT_GE(ctx_.memory->in_use() - small, small + static_cast<size_t>(mapped) * 4);
}

TEST_F(ModelFiles, QuantisedCheckpointsAreSavedWithoutTheirQuantisation) {
  for (const std::string name : {"gpt_oss_mxfp4", "v3_fp8"}) {
    const auto model = load_model(ctx_, golden_path("models/" + name));
    EXPECT_TRUE(model->config().contains("quantization_config"));
    save_model(dir_ / name, *model, {});
    EXPECT_FALSE(read_json_file(dir_ / name / "config.json").contains("quantization_config"));
  }
}

TEST_F(ModelFiles, Fp8IsWrittenAsDeepSeekPublishesIt) {
  const auto model = load_model(ctx_, golden_path("models/mtp_d1"));
  save_model(dir_ / "fp8", *model, {}, formats::f8_e4m3);
  const Json config = read_json_file(dir_ / "fp8" / "config.json");
  EXPECT_EQ(config["quantization_config"]["quant_method"], "fp8");
  EXPECT_EQ(config["quantization_config"]["fmt"], "e4m3");
  EXPECT_EQ(config["quantization_config"]["activation_scheme"], "dynamic");
  EXPECT_EQ(config["quantization_config"]["weight_block_size"], Json::array({128, 128}));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  const SafetensorsFile file(dir_ / "fp8" / "model.safetensors");
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    const bool matrix =
        (info.role == Role::matrix || info.role == Role::expert) && !name.ends_with("eh_proj.weight");
    EXPECT_EQ(file.find(name)->dtype, matrix                      ? "F8_E4M3"
                                      : info.role == Role::buffer ? "F32"
                                                                  : "BF16")
        << name;
    const SafetensorsEntry* factors = file.find(name + "_scale_inv");
    ASSERT_EQ(factors != nullptr, matrix) << name;
    if (matrix) {
      EXPECT_EQ(factors->dtype, "F32");
      EXPECT_EQ(factors->shape, factor_shape(value.shape(), 128, 128));
    }
  });
  model->visit(each);
  // Within half a step of three bits of mantissa, or of the smallest that there is.
  const auto a = values_of(*load_model(ctx_, dir_ / "fp8")), b = values_of(*model);
  for (const auto& [name, values] : b) {
    float largest = 0;
    for (const float x : values) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(a.at(name)[i], values[i], std::abs(values[i]) / 16 + largest / 448 * 0x1p-9f) << name;
  }
  EXPECT_EQ(message(dir_ / "fp8"), "no error");
  EXPECT_THROW(save_model(dir_ / "x", *load_model(ctx_, golden_path("models/gpt2")), {}, formats::f8_e4m3),
               UsageError);
  EXPECT_THROW(save_model(dir_ / "x", *load_model(ctx_, golden_path("models/gpt_oss")), {}, formats::f8_e4m3),
               UsageError);
  EXPECT_FALSE(fs::exists(dir_ / "x"));
}

TEST_F(ModelFiles, Fp8ThatIsReadStaysBitForBit) {
  const fs::path from = golden_path("models/v3_fp8");  // ragged blocks of 128 x 128
  save_model(dir_ / "again", *load_model(ctx_, from), {}, formats::f8_e4m3);
  const SafetensorsFile before(from / "model.safetensors"), after(dir_ / "again" / "model.safetensors");
  int64_t compared = 0;
  for (const SafetensorsEntry& entry : before.entries()) {
    if (entry.dtype != "F8_E4M3" && !entry.name.ends_with("_scale_inv")) continue;
    const SafetensorsEntry* found = after.find(entry.name);
    if (found == nullptr) continue;  // a projection that is published in bf16
    EXPECT_TRUE(std::ranges::equal(found->data, entry.data)) << entry.name;
    ++compared;
  }
  EXPECT_GT(compared, 20);
  // Other blocks, or other numbers, are made anew.
  save_model(dir_ / "small", *load_model(ctx_, golden_path("models/v3_fp8_small_blocks")), {},
             formats::f8_e4m3);
  EXPECT_EQ(message(dir_ / "small"), "no error");
}

TEST_F(ModelFiles, MtpModulesThatTheConfigLeavesOutAreSkipped) {
  const fs::path dir = copy_of("v3_fp8");
  const SafetensorsFile golden(golden_path("models/v3_fp8/golden.safetensors"));
  Json config = read_json_file(dir / "config.json");
  config["num_nextn_predict_layers"] = 0;
  write_json_file(dir / "config.json", config);
  const auto model = load_model(ctx_, dir);
  EXPECT_EQ(model->shape().mtp_depth, 0);
  const Hidden hidden = model->forward(ctx_, golden_batch(golden).batch(), nullptr);
  EXPECT_LT(relative_error(logits(ctx_, *model, hidden.normed).values(), floats(golden, "logits")), 1e-4);
  config["num_hidden_layers"] = 1;  // other layers are not left out
  write_json_file(dir / "config.json", config);
  EXPECT_NE(message(dir).find("unexpected"), std::string::npos) << message(dir);
}

TEST_F(ModelFiles, FactorsThatDoNotFitAreErrors) {
  const fs::path fp8 = copy_of("v3_fp8");
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  rewrite(fp8, [&](auto& tensors) {
    for (auto& t : tensors) {
      if (t.name == name + "_scale_inv") t.shape = {1, 1};
    }
  });
  EXPECT_NE(message(fp8).find(name + "_scale_inv wants (2, 1), found (1, 1)"), std::string::npos)
      << message(fp8);
  rewrite(fp8, [&](auto& tensors) {
    std::erase_if(tensors, [&](const auto& t) { return t.name == name + "_scale_inv"; });
  });
  EXPECT_NE(message(fp8).find("1 missing: " + name + "_scale_inv"), std::string::npos) << message(fp8);
  const fs::path mx = copy_of("gpt_oss_mxfp4");
  const std::string stack = "model.layers.1.mlp.experts.down_proj";
  rewrite(mx, [&](auto& tensors) {
    for (auto& t : tensors) {
      if (t.name == stack + "_scales") t.shape = {4, 64, 2};
      if (t.name == stack + "_blocks") t.shape = {3, 64, 1, 16};
    }
  });
  EXPECT_NE(message(mx).find("_blocks wants (4, 64, 1, 16), found (3, 64, 1, 16)"), std::string::npos);
  EXPECT_NE(message(mx).find("_scales wants (4, 64, 1), found (4, 64, 2)"), std::string::npos);
  rewrite(mx, [&](auto& tensors) {
    std::erase_if(tensors, [&](const auto& t) { return t.name == stack + "_scales"; });
    std::erase_if(tensors, [&](const auto& t) { return t.name.ends_with("0.mlp.experts.down_proj_blocks"); });
  });
  EXPECT_NE(message(mx).find("2 missing"), std::string::npos) << message(mx);
}

TEST_F(ModelFiles, QuantisationsThatAreNotReadAreNamed) {
  const fs::path dir = copy_of("v3_fp8");
  Json config = read_json_file(dir / "config.json");
  for (const Json& bad : {Json{{"quant_method", "gptq"}}, Json{{"bits", 4}}, Json("fp8"),
                          Json{{"quant_method", "fp8"}, {"weight_block_size", {128}}},
                          Json{{"quant_method", "fp8"}, {"weight_block_size", {0, 128}}},
                          Json{{"quant_method", "fp8"}, {"weight_block_size", {"a", 128}}}}) {
    config["quantization_config"] = bad;
    write_json_file(dir / "config.json", config);
    EXPECT_NE(message(dir).find("is not supported; supported: quant_method fp8"), std::string::npos)
        << message(dir);
  }
}

TEST_F(ModelFiles, UnsupportedDtypesAreNamed) {
  const fs::path dir = copy_of("llama_gqa");
  rewrite(dir, [](auto& tensors) {
    for (auto& t : tensors) {
      if (t.name == "lm_head.weight") t.dtype = "F8_E5M2";
    }
  });
  EXPECT_EQ(message(dir),
            dir.string() + ": tensor lm_head.weight is stored as F8_E5M2, which is not supported yet");
}

TEST_F(ModelFiles, DamagedFilesAreErrors) {
  const fs::path dir = copy_of("llama_gqa");
  const fs::path weights = dir / "model.safetensors";
  fs::resize_file(weights, fs::file_size(weights) - 5);
  EXPECT_NE(message(dir).find("model.safetensors"), std::string::npos) << message(dir);
  fs::resize_file(weights, 3);
  EXPECT_NE(message(dir).find("model.safetensors"), std::string::npos) << message(dir);
  fs::remove(weights);
  EXPECT_NE(message(dir).find(dir.string()), std::string::npos) << message(dir);
  write_file_atomically(dir / "config.json", "{\"model_type\": \"llama\", \"hidden_size\": 33}");
  EXPECT_NE(message(dir).find("num_attention_heads"), std::string::npos) << message(dir);
  EXPECT_FALSE(message(dir).starts_with("usage"));
  write_file_atomically(dir / "config.json", "{\"model_type\": \"gpt9\"}");
  EXPECT_NE(message(dir).find("gpt9"), std::string::npos) << message(dir);
  write_file_atomically(dir / "config.json", "[1]");
  EXPECT_NE(message(dir), "no error");
  write_file_atomically(dir / "config.json", "{");
  EXPECT_NE(message(dir).find("config.json"), std::string::npos) << message(dir);
}

TEST_F(ModelFiles, FailedSavesLeaveWhatWasThere) {
  const auto model = load_model(ctx_, golden_path("models/llama_gqa"));
  write_file_atomically(dir_ / "file", "x");
  EXPECT_THROW(save_model(dir_ / "file" / "model", *model, {}), Error);
  EXPECT_EQ(read_file(dir_ / "file"), "x");
}

TEST_F(ModelFiles, FindModelKnowsRunDirectories) {
  const fs::path model = copy_of("llama_gqa");
  EXPECT_EQ(find_model(model.string()), model);
  fs::create_directories(dir_ / "run");
  fs::rename(model, dir_ / "run" / "model");
  EXPECT_EQ(find_model((dir_ / "run").string()), dir_ / "run" / "model");
  for (const fs::path& bad : {dir_, dir_ / "nothing", dir_ / "run" / "model" / "config.json", fs::path()}) {
    EXPECT_THROW(find_model(bad.string()), Error);
  }
}

TEST_F(ModelFiles, GenerationConfigFallsBackToTheModels) {
  write_file_atomically(dir_ / "config.json",
                        R"({"bos_token_id": 7, "eos_token_id": [8, 9], "pad_token_id": null})");
  EXPECT_EQ(read_generation_config(dir_).eos_token_id, (std::vector<int64_t>{8, 9}));
  EXPECT_EQ(read_generation_config(dir_).bos_token_id, 7);
  write_file_atomically(dir_ / "generation_config.json", R"({"eos_token_id": null, "temperature": 0.6})");
  EXPECT_EQ(read_generation_config(dir_).eos_token_id, (std::vector<int64_t>{8, 9}));
  EXPECT_EQ(read_generation_config(dir_).temperature, 0.6);
  write_file_atomically(dir_ / "generation_config.json", R"({"eos_token_id": 3})");
  EXPECT_EQ(read_generation_config(dir_).eos_token_id, (std::vector<int64_t>{3}));
  write_file_atomically(dir_ / "generation_config.json", R"({"temperature": "hot"})");
  EXPECT_THROW(read_generation_config(dir_), Error);
}

}  // namespace
}  // namespace frugal
