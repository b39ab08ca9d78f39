// What the training tests share: tiny models, learnable data, a fresh run directory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "kernels/dispatch.h"
#include "models/model.h"
#include "train/batch_source.h"
#include "train/trainer.h"

namespace frugal {

// MLA, experts in groups with a routing bias, one MTP module, tied head.
constexpr std::string_view kTinyV3 = R"({
  "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "vocab_size": 48, "hidden_size": 32,
  "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2, "first_k_dense_replace": 1,
  "num_attention_heads": 2, "num_key_value_heads": 2, "n_shared_experts": 1, "n_routed_experts": 8,
  "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
  "scoring_func": "sigmoid", "topk_method": "noaux_tc", "q_lora_rank": 16, "kv_lora_rank": 12, "qk_nope_head_dim": 8,
  "qk_rope_head_dim": 4, "v_head_dim": 8, "max_position_embeddings": 64, "num_nextn_predict_layers": 1,
  "initializer_range": 0.1, "tie_word_embeddings": true, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
  "hidden_act": "silu"})";

constexpr std::string_view kTinyLlama = R"({
  "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 48, "hidden_size": 32,
  "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "max_position_embeddings": 64, "initializer_range": 0.1, "tie_word_embeddings": false, "rope_theta": 10000.0,
  "rms_norm_eps": 1e-5, "hidden_act": "silu"})";

// Sinks, windows, experts with biases that lie stacked in files.
constexpr std::string_view kTinyGptOss = R"({
  "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "vocab_size": 48, "hidden_size": 32,
  "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8,
  "max_position_embeddings": 64, "initializer_range": 0.1, "tie_word_embeddings": false, "rms_norm_eps": 1e-5})";

inline std::unique_ptr<Model> tiny_model(Context& ctx, std::string_view config = kTinyV3, uint64_t seed = 1) {
  auto model = create_model(parse_json(config, "tiny config"));
  initialise(ctx, *model, seed);
  make_trainable(*model);
  return model;
}

// Two documents a row. Mostly 5 t + 7 mod vocab, sometimes a random token: learnable, never learnt by heart.
class TinyData : public BatchSource {
 public:
  explicit TinyData(int32_t vocab = 48, bool document_mask = false) : vocab_(vocab), mask_(document_mask) {}

  TrainBatch next(int64_t rows, int64_t length) override {
    TrainBatch batch{rows, length, {}, {}, {}, {}, {}};
    for (int64_t r = 0; r < rows; ++r) {
      Rng rng(7, 0, static_cast<uint64_t>(position_++) << 20);
      const int64_t cut = length / 3 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(length / 3)));
      auto token = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab_)));
      batch.offsets.push_back(r * length);
      if (mask_) batch.offsets.push_back(r * length + cut);
      for (int64_t i = 0; i < length; ++i) {
        const int64_t begin = mask_ && i >= cut ? cut : 0;
        batch.tokens.push_back(token);
        batch.positions.push_back(static_cast<int32_t>(i - begin));
        batch.document.push_back(i < cut ? 0 : 1);
        const bool odd = i + 1 == cut || rng.below(10) == 0;
        token =
            odd ? static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab_))) : (5 * token + 7) % vocab_;
        batch.targets.push_back(i + 1 == cut ? -1 : token);
      }
    }
    batch.offsets.push_back(rows * length);
    return batch;
  }
  Json state() const override { return {{"position", position_}}; }
  void restore(const Json& state, const std::string& where) override {
    if (!state.is_object() || !state.contains("position")) fail("{}: no data position", where);
    position_ = state["position"].get<int64_t>();
  }
  int64_t position() const { return position_; }

 private:
  int32_t vocab_;
  bool mask_;
  int64_t position_ = 0;
};

inline TrainOptions tiny_options() {
  TrainOptions options;
  options.batch = 4;
  options.context = 24;
  options.schedule.warmup_steps = 5;
  options.optimizer.lr = 5e-3;
  options.save_minutes = 0;
  return options;
}

// A directory of its own, removed at the end.
class RunDirectory {
 public:
  RunDirectory() {
    std::string pattern = (fs::temp_directory_path() / "frugal-train-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw Error("no temporary directory");
    path_ = pattern;
  }
  ~RunDirectory() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Every parameter and buffer, one after the other.
inline std::vector<float> all_values(Model& model) {
  std::vector<float> out;
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo&) {
    out.insert(out.end(), value.values().begin(), value.values().end());
  });
  model.visit(each);
  return out;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace frugal
