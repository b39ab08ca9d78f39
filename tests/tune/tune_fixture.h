// What the tests of tuning share: a tokenizer with a chat template of the test's choice, tiny models,
// examples.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/rng.h"
#include "kernels/dispatch.h"
#include "models/model.h"
#include "nn/adapter.h"
#include "text/bpe_trainer.h"
#include "tune/sequence.h"

namespace frugal {

// The layout that most models have; marks are special tokens.
constexpr const char* kChatMl =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

inline Tokenizer chat_tokenizer(const std::string& chat_template) {
  static const auto files = [] {
    ThreadPool pool(2);
    BpeTrainer trainer({.vocab_size = 300}, pool);
    for (int i = 0; i < 20; ++i)
      trainer.add(fmt::format("Once upon a time there were {} small boats on the sea.", i));
    const Tokenizer tokenizer = trainer.train();
    Json json = parse_json(tokenizer.json(), "tokenizer");
    int id = tokenizer.vocab_size();
    for (const char* mark : {"<|im_start|>", "<|im_end|>"}) {
      if (tokenizer.find(mark)) continue;
      json["added_tokens"].push_back({{"id", id++},
                                      {"content", mark},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", true}});
    }
    return std::pair{to_text(json), tokenizer.config_json()};
  }();
  Json config = files.second.empty() ? Json::object() : parse_json(files.second, "config");
  config["chat_template"] = chat_template;
  return Tokenizer::from_json(files.first, to_text(config), "test tokenizer");
}

inline Example chat_example(const Json& messages, size_t learnt_from = 0) {
  return {to_text(messages), learnt_from, {}, {}, "x.jsonl:7"};
}

inline Json turn(const char* role, const char* content) {
  return {{"role", role}, {"content", content}};
}

// The learnt tokens as text, a bar between runs of them.
inline std::string learnt_text(const Tokenizer& tokenizer, const TokenSequence& sequence) {
  std::string text;
  for (size_t i = 0; i < sequence.tokens.size(); ++i) {
    if (!sequence.learnt[i]) continue;
    if (i > 0 && !sequence.learnt[i - 1] && !text.empty()) text += "|";
    text += tokenizer.token_bytes(sequence.tokens[i]);
  }
  return text;
}

constexpr std::string_view kTinyLlamaConfig = R"({
  "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 310, "hidden_size": 32,
  "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "max_position_embeddings": 128, "initializer_range": 0.1, "tie_word_embeddings": true, "rope_theta": 10000.0,
  "rms_norm_eps": 1e-5, "hidden_act": "silu"})";

constexpr std::string_view kTinyMoeConfig = R"({
  "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "vocab_size": 310, "hidden_size": 32,
  "intermediate_size": 48, "moe_intermediate_size": 32, "num_hidden_layers": 2, "first_k_dense_replace": 1,
  "num_attention_heads": 2, "num_key_value_heads": 2, "n_shared_experts": 1, "n_routed_experts": 4,
  "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
  "scoring_func": "sigmoid", "topk_method": "noaux_tc", "q_lora_rank": 16, "kv_lora_rank": 32, "qk_nope_head_dim": 8,
  "qk_rope_head_dim": 4, "v_head_dim": 16, "max_position_embeddings": 128, "num_nextn_predict_layers": 0,
  "initializer_range": 0.1, "tie_word_embeddings": true, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
  "hidden_act": "silu"})";

class TuneTest : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
  fs::path dir_;

  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "frugal_tune_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::unique_ptr<Model> tiny(std::string_view config = kTinyLlamaConfig) {
    auto model = create_model(parse_json(config, "config"));
    initialise(ctx, *model, 5);
    return model;
  }
  // Matrices of the blocks in `format`, where their rows allow it.
  void quantise(Model& model, const Format& format) {
    EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
      if (info.role != Role::matrix && info.role != Role::expert) return;
      if (value.cols() % format.block != 0) return;
      Tensor packed = Tensor::empty(ctx, value.shape(), format);
      format.encode(value.f32(), packed.data(), value.size());
      value = packed;
    });
    model.visit(each);
  }
  static std::string bytes_of(Model& model) {
    std::string all;
    EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo&) {
      all.append(reinterpret_cast<const char*>(value.data()), static_cast<size_t>(value.bytes()));
    });
    model.visit(each);
    return all;
  }
  static VisitParameters visit(Model& model) {
    return [&model](ParamVisitor& v) { model.visit(v); };
  }
  std::string file(const std::string& name, const std::string& content) const {
    write_file_atomically(dir_ / name, content);
    return (dir_ / name).string();
  }
};

// The message of what `body` throws.
template <class F>
std::string error_of(F body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace frugal
