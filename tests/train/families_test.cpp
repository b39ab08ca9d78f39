// Every family of the registry against every number format, and through training: the source of
// docs/models.md. tools/models_table.py runs these tests and makes the page from the properties they record.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "core/rng.h"
#include "io/gguf_model.h"
#include "io/gguf_save.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "models/gguf_family.h"
#include "models/golden.h"
#include "tensor/block_scales.h"
#include "train/optimizer.h"

namespace frugal {
namespace {

// Tiny models of the family, by name; plain ones first: those with MTP modules or quantised weights come
// last.
std::vector<std::string> goldens_of(const Architecture& architecture) {
  std::vector<std::pair<bool, std::string>> found;
  for (const auto& entry : fs::directory_iterator(golden_path("models"))) {
    const Json config = read_json_file(entry.path() / "config.json");
    if (config["model_type"] != architecture.model_type) continue;
    const std::string name = entry.path().filename();
    found.emplace_back(name.find("mtp") != std::string::npos || config.contains("quantization_config"), name);
  }
  std::ranges::sort(found);
  std::vector<std::string> names;
  for (const auto& [special, name] : found) names.push_back(name);
  return names;
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab))));
  }
  return ids;
}

// The family's config, wide enough that rows fit every format's blocks (256 values), else as small as can be.
Json widened(Json config) {
  constexpr std::pair<const char*, int64_t> kSizes[] = {{"hidden_size", 256},
                                                        {"intermediate_size", 256},
                                                        {"moe_intermediate_size", 256},
                                                        {"shared_expert_intermediate_size", 256},
                                                        {"num_hidden_layers", 1},
                                                        {"num_attention_heads", 4},
                                                        {"num_key_value_heads", 2},
                                                        {"head_dim", 64},
                                                        {"q_lora_rank", 256},
                                                        {"kv_lora_rank", 256},
                                                        {"qk_nope_head_dim", 256},
                                                        {"qk_rope_head_dim", 16},
                                                        {"v_head_dim", 128},
                                                        {"n_routed_experts", 2},
                                                        {"num_experts", 2},
                                                        {"num_local_experts", 2},
                                                        {"num_experts_per_tok", 1},
                                                        {"n_group", 1},
                                                        {"topk_group", 1},
                                                        {"n_embd", 256},
                                                        {"n_inner", 256},
                                                        {"n_head", 4},
                                                        {"n_layer", 1}};
  for (const auto& [key, size] : kSizes) {
    if (config.contains(key) && !config[key].is_null()) config[key] = size;
  }
  if (config.contains("n_embd")) config["n_inner"] = 256;
  if (config.contains("kv_lora_rank")) config["num_attention_heads"] = 2;  // 2 x 128 = 256
  for (const char* key : {"first_k_dense_replace", "num_dense_layers"}) {
    if (config.contains(key)) config[key] = 0;  // the one layer has experts
  }
  config.erase("mlp_only_layers");
  config["initializer_range"] = 0.1;
  config.erase("quantization_config");
  return config;
}

bool quantised(const Tensor& value, const ParameterInfo& info) {
  constexpr Role kRoles[] = {Role::matrix, Role::expert, Role::embedding, Role::head};
  return value.shape().size() == 2 && std::ranges::find(kRoles, info.role) != std::end(kRoles);
}

std::map<std::string, std::vector<float>> values_of(Model& model) {
  std::map<std::string, std::vector<float>> out;
  EachParameter each(
      [&](const std::string& name, Tensor& value, const ParameterInfo&) { out[name] = value.decoded(); });
  model.visit(each);
  return out;
}

int count_in(Model& model, const Format& format) {
  int count = 0;
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    count += quantised(value, info) && &value.format() == &format;
  });
  model.visit(each);
  return count;
}

// As other programs save models, and ours does not.
void rewrite_as_f16(const fs::path& path) {
  const SafetensorsFile file(path);
  std::vector<SafetensorsDeclaration> tensors;
  for (const SafetensorsEntry& entry : file.entries()) tensors.push_back({entry.name, "F16", entry.shape});
  SafetensorsWriter writer(path, tensors);
  for (const SafetensorsDeclaration& tensor : writer.order()) {
    const std::vector<float> values = floats(file, tensor.name);
    std::vector<std::byte> stored(values.size() * 2);
    formats::f16.encode(values.data(), stored.data(), std::ssize(values));
    writer.write(tensor.name, stored);
  }
  writer.commit();
}

// Matrices (out, in), each a tensor of its own.
bool has_fp8_directories(Model& model) {
  bool transposed = false;
  EachParameter each([&](const std::string&, Tensor&, const ParameterInfo& info) {
    transposed = transposed || info.transposed;
  });
  model.visit(each);
  return !transposed && find_architecture(model.config())->stacks.empty();
}

class Families : public testing::TestWithParam<const Architecture*> {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};
  fs::path dir_ = fs::temp_directory_path() / fmt::format("frugal_families_{}", ::getpid());
  void SetUp() override {
    fs::create_directories(dir_);
    ASSERT_FALSE(goldens_of(*GetParam()).empty()) << "no golden model of this family";
  }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path golden() const { return golden_path("models/" + goldens_of(*GetParam()).front()); }
  std::vector<float> logits_of(Model& model, const std::vector<int32_t>& ids) {
    const Tensor out = logits(ctx_, model, model.forward(ctx_, Batch::single(ids), nullptr).normed);
    return {out.values().begin(), out.values().end()};
  }
  std::unique_ptr<Model> declared() const {
    return create_model(widened(read_json_file(golden() / "config.json")));
  }
  Tensor stored(const Tensor& value, const Format& format) {
    if (&format == &formats::f8_e4m3) return fp8_with_scales(ctx_, value);
    Tensor out = Tensor::empty(ctx_, value.shape(), format);
    format.encode(value.f32(), out.data(), value.size());
    return out;
  }
  // Each computes exactly on stored weights, and on their decoded values, which must give the same.
  void expect_memory(Model& model, const Format& format, const std::vector<int32_t>& ids);
  void expect_gguf(Model& model, const Format& format, const std::vector<int32_t>& ids);
  void expect_directory(Model& model, const Format& format, const std::vector<int32_t>& ids);
};

void Families::expect_memory(Model& model, const Format& format, const std::vector<int32_t>& ids) {
  const auto quantised_model = declared(), reference = declared();
  std::map<std::string, std::pair<Tensor, Tensor>> values;
  EachParameter store([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    const Tensor kept = quantised(value, info) ? stored(value, format) : value;
    values[name] = {kept, Tensor::from(ctx_, value.shape(), kept.decoded())};
  });
  model.visit(store);
  const auto assign = [&](Model& to, auto member) {
    EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo&) {
      value = values.at(name).*member;
    });
    to.visit(each);
  };
  assign(*quantised_model, &std::pair<Tensor, Tensor>::first);
  assign(*reference, &std::pair<Tensor, Tensor>::second);
  EXPECT_GT(count_in(*quantised_model, format), 4);
  EXPECT_LT(relative_error(logits_of(*quantised_model, ids), logits_of(*reference, ids)), 1e-4);
}

void Families::expect_gguf(Model& model, const Format& format, const std::vector<int32_t>& ids) {
  const fs::path path = dir_ / (std::string(format.name) + ".gguf");
  GgufSaveOptions options;
  options.format = &format;
  options.substituted = [](const std::string& tensor, const Format&, const Format& used) {
    ADD_FAILURE() << tensor << " became " << used.name;
  };
  save_gguf(ctx_, path, model, {}, options);
  const auto mapped = load_model(ctx_, path, Weights::mapped);
  EXPECT_GT(count_in(*mapped, format), 4);
  const auto copied = load_model(ctx_, path, Weights::copied_f32);
  EXPECT_LT(relative_error(logits_of(*mapped, ids), logits_of(*copied, ids)), 1e-4);
  if (&format == &formats::f32) {
    EXPECT_EQ(values_of(*copied), values_of(model));
  }
}

void Families::expect_directory(Model& model, const Format& format, const std::vector<int32_t>& ids) {
  const fs::path path = dir_ / std::string(format.name);
  save_model(path, model, {}, &format == &formats::f16 ? formats::f32 : format);
  if (&format == &formats::f16) rewrite_as_f16(path / "model.safetensors");
  const auto mapped = load_model(ctx_, path, Weights::mapped);
  EXPECT_GT(count_in(*mapped, format), 4);
  const auto copied = load_model(ctx_, path, Weights::copied_f32);
  EXPECT_LT(relative_error(logits_of(*mapped, ids), logits_of(*copied, ids)), 1e-4);
}

TEST_P(Families, ComputesInEveryFormat) {
  const auto ids = random_ids(12, 40, 3);
  const auto model = declared();
  initialise(ctx_, *model, 1);
  for (const Format* format : all_formats()) {
    SCOPED_TRACE(format->name);
    std::string how;
    if (format == &formats::f32 || format == &formats::bf16 || format == &formats::f16 ||
        (format == &formats::f8_e4m3 && has_fp8_directories(*model))) {
      expect_directory(*model, *format, ids);
      how += " directory";
    }
    if (GetParam()->gguf != nullptr && format->ggml >= 0) {
      expect_gguf(*model, *format, ids);
      how += " gguf";
    }
    if (how.empty()) {
      expect_memory(*model, *format, ids);
      how = " memory";
    }
    RecordProperty("format_" + std::string(format->name), how.substr(1));
  }
}

// The goldens' own logits, at every position; and that a family without a table says so.
TEST_P(Families, GivesTheReferencesLogits) {
  int64_t positions = 0, models = 0;
  for (const std::string& name : goldens_of(*GetParam())) {
    const SafetensorsFile file(golden_path("models/" + name + "/golden.safetensors"));
    const GoldenBatch ids = golden_batch(file);
    const auto model = load_model(ctx_, golden_path("models/" + name));
    const Tensor out = logits(ctx_, *model, model->forward(ctx_, ids.batch(), nullptr).normed);
    EXPECT_LT(relative_error(out.values(), floats(file, "logits")), 1e-4) << name;
    positions += ids.rows * ids.length;
    ++models;
  }
  EXPECT_GE(positions, 40);
  RecordProperty("models", static_cast<int>(models));
  RecordProperty("positions", static_cast<int>(positions));
  if (GetParam()->gguf == nullptr) {
    EXPECT_THROW(save_gguf(ctx_, dir_ / "no.gguf", *load_model(ctx_, golden(), Weights::mapped_hf), {}, {}),
                 Error);
  } else {
    RecordProperty("gguf", std::string(GetParam()->gguf->architecture));
  }
}

// One batch, learnt by heart; then saved, and loaded with every bit. With FRUGAL_KEEP_TRAINED the model stays
// there, for other programs to open.
TEST_P(Families, OverfitsABatchAndIsSavedBitForBit) {
  const auto model = load_model(ctx_, golden(), Weights::copied_f32);
  make_trainable(*model);
  const GoldenBatch ids{2, 12, random_ids(24, model->shape().vocab_size, 5)};
  const auto targets = ids.shifted(1, -1);
  OptimizerOptions options;
  options.weight_decay = 0;
  const auto parameters = trainable_parameters(*model);
  const auto optimizer = find_optimizer("adamw").create(ctx_, parameters, options);
  double first = 0, last = 0;
  for (int step = 0; step < 120; ++step) {
    Tape tape;
    ctx_.tape = &tape;
    const Hidden hidden = model->forward(ctx_, ids.batch(), nullptr);
    last = ops::cross_entropy(ctx_, hidden.normed, model->head(), targets, 1.0f / 22).loss_sum / 22;
    tape.backward(ctx_);
    ctx_.tape = nullptr;
    optimizer->step(ctx_, 1e-2, 1 / std::max(1.0, gradient_norm(ctx_, parameters)));
    for (const Parameter& parameter : parameters) parameter.value.zero_gradient();
    if (step == 0) first = last;
  }
  EXPECT_GT(first, 2);
  EXPECT_LT(last, 0.1);

  const char* keep = std::getenv("FRUGAL_KEEP_TRAINED");
  const fs::path path = (keep != nullptr ? fs::path(keep) : dir_) / std::string(GetParam()->model_type);
  save_model(path, *model, {});
  const auto again = load_model(ctx_, path);
  EXPECT_EQ(values_of(*again), values_of(*model));
  EXPECT_EQ(logits_of(*again, ids.ids), logits_of(*model, ids.ids));
  RecordProperty("trained", "yes");
}

INSTANTIATE_TEST_SUITE_P(Registry, Families,
                         testing::ValuesIn(all_architectures().begin(), all_architectures().end()),
                         [](const auto& test) { return std::string(test.param->model_type); });

}  // namespace
}  // namespace frugal
