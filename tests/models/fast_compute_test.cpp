// Models of block-quantised and bf16 weights: exact compute gives what decoded weights give, fast compute
// (activations in int8 or bf16) is as good as its rounding, and neither depends on how rows are batched or
// cut over threads.
#include <map>

#include "core/rng.h"
#include "models/golden.h"

namespace frugal {
namespace {

constexpr int64_t kVocab = 512;

Json tiny_config(const char* preset) {
  Json config = preset_config(preset);
  config.update(Json{{"vocab_size", kVocab},
                     {"hidden_size", 256},
                     {"intermediate_size", 512},
                     {"num_hidden_layers", 2},
                     {"num_attention_heads", 4},
                     {"moe_intermediate_size", 256},
                     {"n_routed_experts", 8},
                     {"num_experts_per_tok", 2},
                     {"n_group", 2},
                     {"topk_group", 1},
                     {"kv_lora_rank", 256},
                     {"q_lora_rank", 256},
                     {"first_k_dense_replace", 1},
                     {"qk_nope_head_dim", 64},
                     {"qk_rope_head_dim", 32},
                     {"v_head_dim", 64},
                     {"num_nextn_predict_layers", 0},
                     {"initializer_range", 0.08}});
  return config;
}

struct Formats {
  // One model three times: as initialised, with its matrices in `format`, and those decoded again.
  Formats(Context& ctx, const Format& format) {
    const Json config = tiny_config("nano");
    quantised = create_model(config);
    initialise(ctx, *quantised, 5);
    decoded = create_model(config);
    initialise(ctx, *decoded, 5);
    std::map<std::string, Tensor> values;
    EachParameter store([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
      if (info.role != Role::matrix && info.role != Role::expert && info.role != Role::head &&
          info.role != Role::embedding)
        return;
      Tensor codes = Tensor::empty(ctx, value.shape(), format);
      format.encode(value.f32(), codes.data(), value.size());
      values[name] = Tensor::from(ctx, value.shape(), codes.decoded());
      value = codes;
    });
    quantised->visit(store);
    EachParameter restore([&](const std::string& name, Tensor& value, const ParameterInfo&) {
      if (values.contains(name)) value = values[name];
    });
    decoded->visit(restore);
  }
  std::unique_ptr<Model> quantised, decoded;
};

std::vector<int32_t> some_tokens(int64_t count) {
  Rng rng(9);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(rng.below(kVocab)));
  return ids;
}

// (R, V) logits: a prompt of all but the last `generated` tokens, then those one by one.
std::vector<float> run(Context& ctx, Model& model, std::span<const int32_t> ids, int64_t generated) {
  std::vector<float> all;
  Cache cache(ctx, model.cache_layers(), 1, std::ssize(ids), formats::f32);
  const auto step = [&](int64_t begin, int64_t end, RowRole role) {
    Batch batch;
    batch.tokens.assign(ids.begin() + begin, ids.begin() + end);
    for (int64_t i = begin; i < end; ++i) batch.positions.push_back(static_cast<int32_t>(i));
    batch.offsets = {0, end - begin};
    batch.slots = {0};
    batch.roles = {role};
    const Tensor scores = logits(ctx, model, model.forward(ctx, batch, &cache).normed);
    all.insert(all.end(), scores.values().begin(), scores.values().end());
  };
  const int64_t prompt = std::ssize(ids) - generated;
  step(0, prompt, RowRole::prompt);
  for (int64_t i = prompt; i < std::ssize(ids); ++i) step(i, i + 1, RowRole::generated);
  return all;
}

// KL divergence of the rows' softmax in nats: its mean, and its median over the rows. A router near a tie may
// choose otherwise after any rounding; what that does to a row moves the mean, and says nothing about the
// products.
struct Divergence {
  double mean, median;
};
Divergence divergence(std::span<const float> p, std::span<const float> q) {
  const auto log_sum = [](std::span<const float> x) {
    double sum = 0;
    for (const float v : x) sum += std::exp(static_cast<double>(v));
    return std::log(sum);
  };
  std::vector<double> rows;
  for (size_t r = 0; r < p.size(); r += kVocab) {
    const auto a = p.subspan(r, kVocab), b = q.subspan(r, kVocab);
    const double norm_a = log_sum(a), norm_b = log_sum(b);
    double& sum = rows.emplace_back(0);
    for (size_t i = 0; i < a.size(); ++i)
      sum += std::exp(a[i] - norm_a) * ((a[i] - norm_a) - (b[i] - norm_b));
  }
  const double mean = std::accumulate(rows.begin(), rows.end(), 0.0) / static_cast<double>(rows.size());
  std::ranges::nth_element(rows, rows.begin() + std::ssize(rows) / 2);
  return {mean, rows[rows.size() / 2]};
}

TEST(FastCompute, IsAsGoodAsItsRounding) {
  ThreadPool pool(2);
  Context exact{pool, kernels::best()}, fast{pool, kernels::best()};
  fast.compute = Compute::fast;
  const auto ids = some_tokens(24);
  for (const Format* format : all_formats()) {
    if (format->block == 1) continue;
    SCOPED_TRACE(format->name);
    const Formats models(exact, *format);
    const auto want = run(exact, *models.decoded, ids, 4);
    const auto decoding = run(exact, *models.quantised, ids, 4),
               rounding = run(fast, *models.quantised, ids, 4);
    EXPECT_LT(relative_error(decoding, want), 1e-4);  // the absorbed form folds kv_b in another order
    const Divergence kl = divergence(want, rounding);
    EXPECT_LT(kl.median, 1e-3);
    if (format == &formats::q8_0) {
      EXPECT_LT(kl.mean, 1e-3);  // what is promised of Q8_0, in full
    }
    EXPECT_GT(kl.median, 1e-9) << "activations were not rounded";
    // The figure means something: these weights' own rounding moves the model a lot more, and f32 weights
    // none.
    const auto other = run(fast, *models.decoded, ids, 4);
    EXPECT_LT(relative_error(other, want), 1e-6);
  }
}

// The head's input always has 15 bits, others beside weights of 8 bits, but for the least sensitive.
TEST(FastCompute, SensitiveInputsHaveMoreBits) {
  ThreadPool pool(2);
  Context exact{pool, kernels::best()}, fast{pool, kernels::best()};
  fast.compute = Compute::fast;
  Rng rng(9);
  std::vector<float> values(64 * 512), input(5 * 512);
  for (float& v : values) v = static_cast<float>(rng.normal());
  for (float& v : input) v = static_cast<float>(rng.normal());
  const Tensor x = Tensor::from(exact, {5, 512}, input);
  for (const Format* format : {&formats::q4_0, &formats::q6_k, &formats::q8_0}) {
    SCOPED_TRACE(format->name);
    Tensor weight = Tensor::empty(exact, {64, 512}, *format);
    format->encode(values.data(), weight.data(), weight.size());
    const std::vector<float> want = ops::linear(exact, x, weight).decoded();
    const auto error = [&](ops::Sensitivity sensitivity) {
      return relative_error(ops::linear(fast, x, weight, {}, sensitivity).decoded(), want);
    };
    const double coarse = error(ops::Sensitivity::low);
    EXPECT_GT(coarse, 1e-3);
    EXPECT_LT(error(ops::Sensitivity::high), coarse / 50);
    if (format == &formats::q8_0) {
      EXPECT_LT(error(ops::Sensitivity::medium), coarse / 50);
    } else {
      EXPECT_EQ(error(ops::Sensitivity::medium), coarse);
    }
  }
}

TEST(FastCompute, MultipliesPairsOfBf16WhereTheMachineDoes) {
  ThreadPool pool(2);
  const auto ids = some_tokens(24);
  for (const kernels::Table* table : kernels::available()) {
    SCOPED_TRACE(table->name);
    Context exact{pool, *table}, fast{pool, *table};
    fast.compute = Compute::fast;
    const Formats models(exact, formats::bf16);
    const auto want = run(exact, *models.decoded, ids, 4), as_stored = run(exact, *models.quantised, ids, 4),
               rounding = run(fast, *models.quantised, ids, 4);
    EXPECT_LT(relative_error(as_stored, want), 1e-5);
    if (table->bf16_pairs) {
      const Divergence kl = divergence(want, rounding);
      EXPECT_LT(kl.median, 1e-4);
      EXPECT_GT(kl.median, 1e-10) << "activations were not rounded";
    } else {
      EXPECT_EQ(std::memcmp(as_stored.data(), rounding.data(), rounding.size() * sizeof(float)), 0);
    }
  }
}

TEST(FastCompute, SameBitsInAnyBatchOnAnyThreads) {
  ThreadPool one(1), three(3);
  Context alone{one, kernels::best()}, shared{three, kernels::best()};
  alone.compute = shared.compute = Compute::fast;
  const auto ids = some_tokens(68);  // enough for every way of packing
  for (const Format* format : {&formats::q4_1, &formats::q6_k, &formats::q8_0, &formats::bf16}) {
    SCOPED_TRACE(format->name);
    const Formats models(alone, *format);
    const auto want = run(alone, *models.quantised, ids, 3);
    const auto got = run(shared, *models.quantised, ids, 3);
    ASSERT_EQ(want.size(), got.size());
    EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * sizeof(float)), 0);
    // The prompt's rows again, as prompts of one chunk each.
    const std::vector<int32_t> shorter(ids.begin(), ids.begin() + 7);
    const auto part = run(shared, *models.quantised, shorter, 0);
    EXPECT_EQ(std::memcmp(want.data(), part.data(), part.size() * sizeof(float)), 0);
  }
}

}  // namespace
}  // namespace frugal
