// Importance matrices against activations computed by hand, and their file.
#include "eval/measure_importance.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "eval/divergence.h"
#include "io/gguf.h"
#include "io/gguf_save.h"
#include "io/gguf_writer.h"
#include "io/model_files.h"
#include "io/parameters.h"
#include "kernels/dispatch.h"

namespace frugal {
namespace {

class ImportanceTest : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};
  fs::path dir_ =
      fs::temp_directory_path() / fmt::format("frugal_importance_{}_{}", ::getpid(),
                                              testing::UnitTest::GetInstance()->current_test_info()->name());
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }

  // Of a golden model: its config, with weights from a seed.
  std::unique_ptr<Model> model(const std::string& name) {
    auto net = create_model(
        read_json_file(fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/models" / name / "config.json"));
    initialise(ctx_, *net, 5);
    return net;
  }
  static ValidationWindows text(const Model& model, int64_t tokens, int64_t length) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < tokens; ++i)
      ids.push_back(static_cast<int32_t>((i * i + 3 * i) % model.shape().vocab_size));
    return {TokenSet::from_memory({ids}, {tokens}),
            {.framing = {.bos_id = -1, .eos_id = -1}, .length = length}};
  }
  template <class F>
  void expect_fails(F f, const std::string& part) {
    try {
      f();
      ADD_FAILURE() << "no error: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
};

TEST_F(ImportanceTest, IsTheMeanSquareOfWhatMatricesTakeIn) {
  const auto net = model("llama_gqa");
  ValidationWindows windows = text(*net, 40, 16);
  const Importance found = measure_importance(ctx_, *net, windows, 2);
  EXPECT_EQ(found.tokens, 39);  // the last token is only predicted
  EXPECT_EQ(found.context, 16);
  // q, k and v of the first layer take in the normed embedding, the head the final hidden rows.
  std::map<std::string, Tensor*> parameters;
  for (const auto& p : ParameterList(*net).parameters) parameters[p.name] = p.value;
  const Tensor& table = *parameters.at("model.embed_tokens.weight");
  std::vector<double> wanted(static_cast<size_t>(table.cols()));
  windows.rewind();
  const float eps = static_cast<float>(net->config().at("rms_norm_eps").get<double>());
  while (const auto batch = windows.next(1)) {
    for (size_t i = 0; i < batch->tokens.size(); ++i) {
      if (batch->targets[i] < 0) continue;
      const std::vector<int32_t> token = {batch->tokens[i]};
      const Tensor x = ops::rms_norm(ctx_, ops::embedding(ctx_, token, table),
                                     *parameters.at("model.layers.0.input_layernorm.weight"), eps);
      for (size_t c = 0; c < wanted.size(); ++c) wanted[c] += std::pow(x.f32()[c], 2) / 39;
    }
  }
  for (const char* name : {"q", "k", "v"}) {
    const auto* matrix = found.find(fmt::format("model.layers.0.self_attn.{}_proj.weight", name));
    ASSERT_NE(matrix, nullptr);
    EXPECT_EQ(matrix->rows, 39);
    for (size_t c = 0; c < wanted.size(); ++c)
      ASSERT_NEAR(matrix->mean_squares[c], wanted[c], 1e-5 * wanted[c]);
  }
  EXPECT_NE(found.find("lm_head.weight"), nullptr);
  EXPECT_EQ(found.find("model.norm.weight"), nullptr);
}

TEST_F(ImportanceTest, EveryMatrixOfEveryFamilyIsSeen) {
  for (const char* name : {"llama_gqa", "qwen3_moe", "v3_full", "gpt2", "smollm"}) {
    const auto net = model(name);
    ValidationWindows windows = text(*net, 64, 32);
    const Importance found = measure_importance(ctx_, *net, windows, 1);
    int64_t routed = 0;
    for (const auto& p : ParameterList(*net).parameters) {
      const auto* matrix = found.find(p.name);
      const bool product = (p.info.role == Role::matrix || p.info.role == Role::head) && !p.info.mtp;
      if (product) {
        ASSERT_NE(matrix, nullptr) << name << " " << p.name;
        EXPECT_EQ(matrix->rows, 63) << name << " " << p.name;
      }
      if (p.info.role == Role::expert && p.name.ends_with("up_proj.weight") && !p.info.mtp &&
          matrix != nullptr)
        routed += matrix->rows;
    }
    const Json config = net->config();
    if (!config.contains("num_experts_per_tok")) continue;
    EXPECT_GT(routed, 0) << name;
    EXPECT_EQ(routed % (63 * config["num_experts_per_tok"].get<int64_t>()), 0) << name;
  }
}

TEST_F(ImportanceTest, ThreadsDoNotMatter) {
  const auto net = model("qwen3_moe");
  ValidationWindows windows = text(*net, 64, 32);
  const Importance two = measure_importance(ctx_, *net, windows, 1);
  ThreadPool one_pool(1);
  Context one{one_pool, kernels::best()};
  const Importance one_thread = measure_importance(one, *net, windows, 1);
  for (const auto& [name, matrix] : two.matrices) {
    EXPECT_EQ(matrix.mean_squares, one_thread.find(name)->mean_squares) << name;
  }
}

TEST_F(ImportanceTest, GoesThroughAFile) {
  for (const char* name : {"llama_gqa", "qwen3_moe", "v3_full", "gpt2"}) {
    const auto net = model(name);
    ValidationWindows windows = text(*net, 64, 32);
    Importance before = measure_importance(ctx_, *net, windows, 1);
    before.texts = {"some text"};
    const fs::path path = dir_ / "i.gguf";
    save_importance(path, before, *net);
    const Importance after = load_importance(path, *net);
    for (const auto& [key, matrix] : before.matrices) {
      const auto* back = after.find(key);
      ASSERT_NE(back, nullptr) << name << " " << key;
      EXPECT_EQ(back->rows, matrix.rows);
      for (size_t c = 0; c < matrix.mean_squares.size(); ++c)
        ASSERT_NEAR(back->mean_squares[c], matrix.mean_squares[c], 1e-6 * matrix.mean_squares[c]) << key;
    }
    const GgufFile file(path);  // as llama.cpp names things
    EXPECT_EQ(file.text("general.type"), "imatrix");
    EXPECT_EQ(file.integer("imatrix.chunk_size"), 32);
    EXPECT_EQ(file.integer("imatrix.chunk_count"), 2);
  }
}

TEST_F(ImportanceTest, FilesThatDoNotFitAreRefused) {
  const auto net = model("llama_gqa");
  const fs::path path = dir_ / "i.gguf";
  const auto write = [&](const std::string& type, const std::string& tensor, const std::vector<float>& sums,
                         const std::vector<float>& counts) {
    GgufMetadata metadata;
    metadata.add("general.type", type);
    const auto n = std::ssize(counts);
    GgufWriter writer(path, metadata,
                      {{tensor + ".in_sum2", &formats::f32, {n, std::ssize(sums) / n}},
                       {tensor + ".counts", &formats::f32, {n, 1}}});
    writer.write(tensor + ".in_sum2", std::as_bytes(std::span(sums)));
    writer.write(tensor + ".counts", std::as_bytes(std::span(counts)));
    writer.commit();
  };
  const auto load = [&] { return load_importance(path, *net); };
  const auto hidden = static_cast<size_t>(net->shape().hidden_size);
  const std::string q = "blk.0.attn_q.weight";
  write("imatrix", q, std::vector<float>(hidden, 2), {4});
  EXPECT_EQ(load().find("model.layers.0.self_attn.q_proj.weight")->mean_squares[0], 0.5f);
  write("imatrix", q, std::vector<float>(hidden, 0), {0});
  EXPECT_EQ(load().find("model.layers.0.self_attn.q_proj.weight")->rows, 0);
  write("model", q, std::vector<float>(hidden, 1), {4});
  expect_fails(load, "not an importance matrix");
  write("imatrix", "blk.99.attn_q.weight", std::vector<float>(hidden, 1), {4});
  expect_fails(load, "no matrix of this model");
  write("imatrix", q, std::vector<float>(hidden + 1, 1), {4});
  expect_fails(load, "attn_q.weight.in_sum2 has");
  for (const float bad : {-1.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    write("imatrix", q, std::vector<float>(hidden, bad), {4});
    expect_fails(load, "expected sums of squares");
  }
}

// What it is for: the inputs of a few columns are large, and these come out better.
TEST_F(ImportanceTest, WeightsTheErrorsOfAFile) {
  for (const char* name : {"llama_gqa", "qwen3_moe", "gpt2"}) {
    const auto net = model(name);
    ValidationWindows windows = text(*net, 64, 32);
    Importance importance = measure_importance(ctx_, *net, windows, 1);
    for (auto& [key, matrix] : importance.matrices) {
      for (size_t c = 0; c < matrix.mean_squares.size(); c += 8) matrix.mean_squares[c] *= 1000;
    }
    GgufSaveOptions options;
    options.format = &formats::q4_0;
    save_gguf(ctx_, dir_ / "plain.gguf", *net, {}, options);
    options.importance = &importance;
    save_gguf(ctx_, dir_ / "weighted.gguf", *net, {}, options);
    const auto plain = load_model(ctx_, dir_ / "plain.gguf", Weights::mapped_hf),
               weighted = load_model(ctx_, dir_ / "weighted.gguf", Weights::mapped_hf);
    const ParameterList original(*net), without(*plain), with(*weighted);
    int compared = 0;
    for (size_t i = 0; i < original.parameters.size(); ++i) {
      const auto& p = original.parameters[i];
      const auto* matrix = importance.find(p.name);
      if (matrix == nullptr || p.info.role == Role::router || p.value->cols() % 32 != 0 ||
          p.value->dim(0) % 32 != 0)
        continue;
      const std::vector<float> x = p.value->decoded(), a = without.parameters[i].value->decoded(),
                               b = with.parameters[i].value->decoded();
      const bool rows_are_inputs = name == std::string("gpt2") && p.name.find("c_") != std::string::npos;
      double error_plain = 0, error_weighted = 0;
      for (size_t k = 0; k < x.size(); ++k) {
        const auto cols = static_cast<size_t>(p.value->cols());
        const double w = matrix->mean_squares[rows_are_inputs ? k / cols : k % cols];
        error_plain += w * std::pow(x[k] - a[k], 2);
        error_weighted += w * std::pow(x[k] - b[k], 2);
      }
      EXPECT_LT(error_weighted, 0.9 * error_plain) << name << " " << p.name;
      ++compared;
    }
    EXPECT_GT(compared, 0) << name;
  }
}

TEST_F(ImportanceTest, DivergenceAgainstAPlainReference) {
  const auto original = model("llama_gqa"), changed = model("llama_gqa");
  for (const auto& p : ParameterList(*changed).parameters) {
    if (p.info.role != Role::matrix) continue;
    for (float& x : p.value->values()) x *= 1.5f;
  }
  ValidationWindows windows = text(*original, 100, 32);
  Model* models[] = {original.get(), changed.get()};
  const Divergences found = compare_models(ctx_, *original, models, windows, 2);
  EXPECT_EQ(found.changed[0].kl, 0);
  EXPECT_EQ(found.changed[0].same_top, 1);
  EXPECT_EQ(found.changed[0].nats, found.nats);
  EXPECT_EQ(found.changed[1].targets, 99);
  double kl = 0, nats = 0, top = 0;
  std::vector<double> all;
  windows.rewind();
  while (const auto batch = windows.next(1)) {
    Batch rows = Batch::single(batch->tokens);
    const Tensor p = logits(ctx_, *original, original->forward(ctx_, rows, nullptr).normed),
                 q = logits(ctx_, *changed, changed->forward(ctx_, rows, nullptr).normed);
    for (int64_t r = 0; r < p.rows(); ++r) {
      const int32_t target = batch->targets[static_cast<size_t>(r)];
      if (target < 0) continue;
      const auto probabilities = [&](const Tensor& t) {
        std::vector<double> out;
        double sum = 0;
        for (int64_t c = 0; c < t.cols(); ++c)
          sum += out.emplace_back(std::exp(double{t.f32()[r * t.cols() + c]}));
        for (double& x : out) x /= sum;
        return out;
      };
      const auto pp = probabilities(p), qq = probabilities(q);
      double one = 0;
      for (size_t c = 0; c < pp.size(); ++c) one += pp[c] * std::log(pp[c] / qq[c]);
      kl += one / 99;
      all.push_back(one);
      nats -= std::log(qq[static_cast<size_t>(target)]) / 99;
      top += std::ranges::max_element(pp) - pp.begin() == std::ranges::max_element(qq) - qq.begin() ? 1.0 / 99
                                                                                                    : 0;
    }
  }
  std::ranges::sort(all);
  EXPECT_NEAR(found.changed[1].kl, kl, 1e-5 * kl);
  EXPECT_NEAR(found.changed[1].kl_99, all[98], 1e-4 * all[98]);
  EXPECT_NEAR(found.changed[1].nats, nats, 1e-5 * nats);
  EXPECT_NEAR(found.changed[1].same_top, top, 1e-9);
  EXPECT_GT(kl, 0);
}

}  // namespace
}  // namespace frugal
