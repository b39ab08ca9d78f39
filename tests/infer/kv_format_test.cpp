// Keys and values in every format a cache has: close to f32, and the same bits however rows come.
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "infer/engine.h"
#include "models/golden.h"

namespace frugal {
namespace {

// Heads that are whole blocks of q8_0, which those of the golden models are not.
constexpr const char* kConfigs[] = {
    R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512,
        "initializer_range": 0.15})",
    R"({"model_type": "deepseek_v3", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96,
        "moe_intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 64,
        "q_lora_rank": null, "qk_rope_head_dim": 32, "qk_nope_head_dim": 32, "v_head_dim": 32,
        "max_position_embeddings": 512, "initializer_range": 0.15})",
    R"({"model_type": "deepseek_v3", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96,
        "moe_intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 12, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 64,
        "q_lora_rank": 32, "qk_rope_head_dim": 32, "qk_nope_head_dim": 16, "v_head_dim": 16,
        "max_position_embeddings": 512, "initializer_range": 0.15})"};

std::vector<int32_t> ids(int64_t count) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<int32_t>((i * i * 7 + i * 3) % 64));
  return out;
}

class KvFormat : public testing::TestWithParam<const char*> {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};
  std::unique_ptr<Model> model(Context& ctx) {
    auto m = create_model(parse_json(GetParam(), "config"));
    initialise(ctx, *m, 11);
    return m;
  }
};

// Logits of the last row: a prompt, then `step` generated rows at a time.
Tensor decoded(Context& ctx, Model& model, const std::vector<int32_t>& text, int64_t prompt, int64_t step,
               const EngineOptions& options) {
  Engine engine(ctx, model, options);
  engine.prefill(0, std::span(text).first(static_cast<size_t>(prompt)));
  Tensor last;
  for (int64_t at = prompt; at < std::ssize(text); at += step) {
    const auto next = std::span(text).subspan(static_cast<size_t>(at), static_cast<size_t>(step));
    const Engine::Rows rows{0, next, RowRole::generated};
    last = engine.forward({&rows, 1});
  }
  return last;
}

TEST_P(KvFormat, StaysCloseToF32) {
  for (const kernels::Table* table : kernels::available()) {
    Context ctx{pool_, *table};
    const auto m = model(ctx);
    const auto in = [&](const Format& format) {
      return decoded(ctx, *m, ids(60), 40, 1, {.context = 64, .kv_format = &format});
    };
    const Tensor exact = in(formats::f32);
    for (const Format* format : {&formats::bf16, &formats::q8_0}) {
      const double error = relative_error(in(*format).values(), exact.values());
      EXPECT_LT(error, 0.06) << format->name << " " << table->name;
      EXPECT_GT(error, 1e-6) << format->name << ": the format took no effect";
    }
  }
}

// Chunks of the prompt, generated rows at once, threads, other sequences in the batch: none changes a bit.
TEST_P(KvFormat, BitsDoNotDependOnHowRowsCome) {
  constexpr int64_t kPrompt = 312;  // the keys are more than one chunk of attention
  const auto m = model(ctx_);
  const auto text = ids(kPrompt + 8);
  ThreadPool five(5);
  Context other{five, ctx_.kernels};
  for (const Format* format : {&formats::f32, &formats::bf16, &formats::q8_0}) {
    const EngineOptions options{.context = 330, .slots = 3, .kv_format = format};
    const Tensor expected = decoded(ctx_, *m, text, kPrompt, 1, options);
    const auto same = [&](std::span<const float> got) {
      return std::memcmp(got.data(), expected.f32(), static_cast<size_t>(expected.bytes())) == 0;
    };
    EXPECT_TRUE(same(decoded(ctx_, *m, text, kPrompt, 4, options).values())) << format->name;
    EXPECT_TRUE(same(decoded(other, *m, text, kPrompt, 8, options).values())) << format->name;
    Engine engine(other, *m, options);
    engine.prefill(1, std::span(text).first(kPrompt));
    engine.prefill(2, std::span(text).first(7));
    const Engine::Rows rows[] = {{2, std::span(text).subspan(7, 3), RowRole::generated},
                                 {0, std::span(text).first(20), RowRole::prompt},
                                 {1, std::span(text).subspan(kPrompt), RowRole::generated}};
    const Tensor together = engine.forward(rows);
    EXPECT_TRUE(same(together.values().subspan(2 * static_cast<size_t>(together.cols())))) << format->name;
  }
}

TEST_P(KvFormat, DraftsChangeNothing) {
  const auto m = model(ctx_);
  for (const Format* format : {&formats::bf16, &formats::q8_0}) {
    const auto reply = [&](const DraftOptions& draft) {
      Engine engine(ctx_, *m, {.context = 330, .kv_format = format, .draft = draft});
      return engine.generate(
          {.prompt = ids(260), .max_tokens = 40, .sampling = {.temperature = 0.5, .seed = 2}});
    };
    const Generation drafted = reply({.kind = DraftKind::lookup, .longest = 6, .always = true});
    EXPECT_EQ(drafted.ids, reply({}).ids) << format->name;
    EXPECT_GT(drafted.draft.drafted, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, KvFormat, testing::ValuesIn(kConfigs),
                         [](const auto& param) { return "config" + std::to_string(param.index); });

TEST(KvFormatErrors, SayWhatIsWrong) {
  ThreadPool pool(1);
  Context ctx{pool, kernels::best()};
  const auto m = golden_model(ctx, "llama_gqa");
  try {
    Engine(ctx, *m, {.kv_format = &formats::q8_0});
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("heads are 8 wide; use bf16"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace frugal
