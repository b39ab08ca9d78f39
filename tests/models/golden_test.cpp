// Logits, losses and every gradient against transformers and PyTorch.
#include "models/golden.h"

#include <set>

namespace frugal {
namespace {

constexpr double kLogitTolerance = 1e-4;
constexpr double kGradientTolerance = 1e-4;

class Golden : public testing::TestWithParam<std::string> {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
};

void expect_gradients(Model& model, const SafetensorsFile& golden) {
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (info.role == Role::buffer) return;
    ASSERT_TRUE(value.has_gradient()) << name;
    const std::vector<float> wanted = floats(golden, "grad." + name);
    EXPECT_LT(relative_error(value.gradient_values(), wanted), kGradientTolerance) << name;
  });
  model.visit(each);
}

TEST_P(Golden, LogitsLossAndGradients) {
  auto model = golden_model(ctx, GetParam());
  const SafetensorsFile golden(golden_path("models/" + GetParam() + "/golden.safetensors"));
  const GoldenBatch ids = golden_batch(golden);
  const Batch batch = ids.batch();
  {
    const Hidden hidden = model->forward(ctx, batch, nullptr);
    EXPECT_LT(relative_error(logits(ctx, *model, hidden.normed).values(), floats(golden, "logits")),
              kLogitTolerance);
  }
  make_trainable(*model);
  Tape tape;
  ctx.tape = &tape;
  ctx.stream_weights = false;
  const Hidden hidden = model->forward(ctx, batch, nullptr);
  const auto targets = ids.shifted(1, -1);
  const auto rows = static_cast<float>(ids.rows * (ids.length - 1));
  const auto loss = ops::cross_entropy(ctx, hidden.normed, model->head(), targets, 1 / rows);
  EXPECT_EQ(static_cast<float>(loss.counted), rows);
  EXPECT_NEAR(loss.loss_sum / rows, floats(golden, "loss")[0], 2e-5);
  tape.backward(ctx);
  expect_gradients(*model, golden);
}

TEST_P(Golden, RecomputedGradientsAreTheSame) {
  std::vector<std::vector<float>> gradients[2];
  for (const bool recompute : {false, true}) {
    auto model = golden_model(ctx, GetParam());
    make_trainable(*model);
    model->set_recompute(recompute);
    const SafetensorsFile golden(golden_path("models/" + GetParam() + "/golden.safetensors"));
    const GoldenBatch ids = golden_batch(golden);
    Tape tape;
    Aux aux;
    ctx.tape = &tape;
    ctx.aux = &aux;
    const Batch batch = ids.batch();
    ops::cross_entropy(ctx, model->forward(ctx, batch, nullptr).normed, model->head(), ids.shifted(1, -1), 1);
    tape.backward(ctx);
    int64_t routed = 0;
    for (const auto& [layer, counts] : aux.counts()) {
      for (const int64_t n : counts) routed += n;
    }
    if (!aux.counts().empty()) {
      EXPECT_EQ(routed % (ids.rows * ids.length * static_cast<int64_t>(aux.counts().size())), 0);
      const auto top_k = model->config()["num_experts_per_tok"].get<int64_t>();
      EXPECT_EQ(routed, ids.rows * ids.length * top_k * static_cast<int64_t>(aux.counts().size()));
    }
    EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
      if (info.role == Role::buffer) return;
      const auto g = value.gradient_values();
      gradients[recompute].emplace_back(g.begin(), g.end());
    });
    model->visit(each);
    ctx.tape = nullptr;
    ctx.aux = nullptr;
  }
  EXPECT_EQ(gradients[0], gradients[1]);
}

// Through a cache: chunks of different sizes; the last ones a token at a time, as generated rows, which is
// MLA's absorbed form.
void expect_cached_logits(Context& ctx, Model& model, const SafetensorsFile& golden) {
  const GoldenBatch ids = golden_batch(golden);
  const std::vector<float> wanted = floats(golden, "logits");
  const auto vocab = static_cast<size_t>(model.shape().vocab_size);
  Cache cache(ctx, model.cache_layers(), static_cast<int>(ids.rows), ids.length, formats::f32);
  for (int64_t at = 0; at < ids.length;) {
    const int64_t chunk = at == 0 ? 5 : at < 12 ? 3 : 1;
    const int64_t end = std::min(ids.length, at + chunk);
    Batch batch;
    batch.offsets = {0};
    for (int64_t r = 0; r < ids.rows; ++r) {
      for (int64_t t = at; t < end; ++t) {
        batch.tokens.push_back(ids.ids[static_cast<size_t>(r * ids.length + t)]);
        batch.positions.push_back(static_cast<int32_t>(t));
      }
      batch.offsets.push_back(batch.rows());
      batch.slots.push_back(static_cast<int>(r));
      batch.roles.push_back(chunk == 1 || (r == 1 && at > 0) ? RowRole::generated : RowRole::prompt);
    }
    const Tensor out = logits(ctx, model, model.forward(ctx, batch, &cache).normed);
    for (int64_t r = 0; r < ids.rows; ++r) {
      const auto rows = static_cast<size_t>(end - at);
      const std::span<const float> got =
          out.values().subspan(static_cast<size_t>(r) * rows * vocab, rows * vocab);
      const std::span<const float> want(wanted.data() + static_cast<size_t>(r * ids.length + at) * vocab,
                                        rows * vocab);
      EXPECT_LT(relative_error(got, want), kLogitTolerance) << "row " << r << " from " << at;
    }
    at = end;
  }
  EXPECT_EQ(cache.length(0), ids.length);
}

TEST_P(Golden, CachedEqualsUncached) {
  const auto model = golden_model(ctx, GetParam());
  expect_cached_logits(ctx, *model,
                       SafetensorsFile(golden_path("models/" + GetParam() + "/golden.safetensors")));
}

// A model may stand in the manifest several times, with different goldens.
std::set<std::string> cases(const std::string& kind) {
  std::set<std::string> names;
  const Json manifest = read_json_file(golden_path("manifest.json"));
  for (const auto& item : manifest["cases"]) {
    if (item["kind"] == kind) names.insert(fs::path(item["model"].get<std::string>()).filename().string());
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::ValuesIn(cases("model")),
                         [](const auto& test) { return test.param; });

class BalanceGolden : public Golden {};

TEST_P(BalanceGolden, LossAndGradients) {
  auto model = golden_model(ctx, GetParam());
  const SafetensorsFile golden(golden_path("models/" + GetParam() + "/balance.safetensors"));
  const SafetensorsFile base(golden_path("models/" + GetParam() + "/golden.safetensors"));
  const GoldenBatch ids = golden_batch(golden.find("input_ids") != nullptr ? golden : base);
  make_trainable(*model);
  Tape tape;
  Aux aux;
  aux.balance_alpha = 0.1;
  ctx.tape = &tape;
  ctx.aux = &aux;
  const Batch batch = ids.batch();
  const auto rows = static_cast<float>(ids.rows * (ids.length - 1));
  ops::cross_entropy(ctx, model->forward(ctx, batch, nullptr).normed, model->head(), ids.shifted(1, -1),
                     1 / rows);
  EXPECT_NEAR(aux.balance_loss(), floats(golden, "loss.balance")[0], 1e-5);
  tape.backward(ctx);
  expect_gradients(*model, golden);
}

INSTANTIATE_TEST_SUITE_P(Models, BalanceGolden, testing::ValuesIn(cases("balance")),
                         [](const auto& test) { return test.param; });

class MtpGolden : public Golden {};

TEST_P(MtpGolden, LogitsLossesAndGradients) {
  auto model = golden_model(ctx, GetParam());
  const SafetensorsFile golden(golden_path("models/" + GetParam() + "/golden.safetensors"));
  const GoldenBatch ids = golden_batch(golden);
  const auto depths = static_cast<int>(model->shape().mtp_depth);
  ASSERT_GT(depths, 0);
  make_trainable(*model);
  Tape tape;
  ctx.tape = &tape;
  const Batch batch = ids.batch();
  const Hidden main = model->forward(ctx, batch, nullptr);
  const auto rows = static_cast<float>(ids.rows * (ids.length - 1));
  ops::cross_entropy(ctx, main.normed, model->head(), ids.shifted(1, -1), 1 / rows);
  Tensor previous = main.before_norm;
  for (int k = 1; k <= depths; ++k) {
    Batch shifted = batch;
    shifted.tokens = ids.shifted(k, 0);
    const Hidden hidden = model->mtp(ctx, previous, shifted, k);
    previous = hidden.before_norm;
    const std::string depth = std::to_string(k);
    const std::vector<float> wanted = floats(golden, "mtp_logits." + depth);
    Context quiet = ctx;
    quiet.tape = nullptr;
    std::vector<int64_t> valid;
    for (int64_t i = 0; i < ids.rows * ids.length; ++i) {
      if (i % ids.length + k < ids.length) valid.push_back(i);
    }
    EXPECT_LT(relative_error(logits(quiet, *model, hidden.normed, valid).values(), wanted), kLogitTolerance);
    const auto counted = static_cast<float>(ids.rows * (ids.length - k - 1));
    const float scale = 0.3f / static_cast<float>(depths) / counted;
    const auto loss = ops::cross_entropy(ctx, hidden.normed, model->head(), ids.shifted(k + 1, -1), scale);
    EXPECT_NEAR(loss.loss_sum / counted, floats(golden, "loss.mtp." + depth)[0], 2e-5);
  }
  tape.backward(ctx);
  expect_gradients(*model, golden);
}

INSTANTIATE_TEST_SUITE_P(Models, MtpGolden, testing::ValuesIn(cases("mtp")),
                         [](const auto& test) { return test.param; });

// Quantised checkpoints, read as they are and decoded.
class FormGolden : public Golden {};

TEST_P(FormGolden, LogitsUncachedAndCached) {
  const SafetensorsFile golden(golden_path("models/" + GetParam() + "/golden.safetensors"));
  for (const Weights weights : {Weights::mapped, Weights::copied_f32}) {
    const auto model = load_model(ctx, golden_path("models/" + GetParam()), weights);
    const Hidden hidden = model->forward(ctx, golden_batch(golden).batch(), nullptr);
    EXPECT_LT(relative_error(logits(ctx, *model, hidden.normed).values(), floats(golden, "logits")),
              kLogitTolerance);
    expect_cached_logits(ctx, *model, golden);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FormGolden, testing::ValuesIn(cases("form")),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace frugal
