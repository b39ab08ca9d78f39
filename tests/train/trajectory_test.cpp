// Ten steps of the trainer against PyTorch and transformers (tools/golden/trajectory.py).
#include "models/golden.h"
#include "train/fixtures.h"

namespace frugal {
namespace {

struct Case {
  const char* name;
  const char* model;
  const char* optimizer;
  int64_t micro_batch;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name << " micro_batch " << c.micro_batch;
}

class GoldenData : public BatchSource {
 public:
  explicit GoldenData(const SafetensorsFile& file) {
    const SafetensorsEntry* entry = file.find("batches");
    rows_ = entry->shape[1];
    length_ = entry->shape[2];
    ids_.resize(entry->data.size() / 4);
    std::memcpy(ids_.data(), entry->data.data(), entry->data.size());
  }
  int64_t rows() const { return rows_; }
  int64_t length() const { return length_; }
  TrainBatch next(int64_t rows, int64_t length) override {
    CHECK(rows == rows_ && length == length_);
    const int64_t size = rows * length, batches = static_cast<int64_t>(ids_.size()) / size;
    const auto begin = ids_.begin() + (step_++ % batches) * size;
    const GoldenBatch golden{rows, length, {begin, begin + size}};
    const Batch batch = golden.batch();
    return {rows,
            length,
            golden.ids,
            golden.shifted(1, -1),
            batch.positions,
            std::vector<int32_t>(golden.ids.size(), 0),
            batch.offsets};
  }
  Json state() const override { return step_; }
  void restore(const Json&, const std::string&) override {}

 private:
  int64_t rows_ = 0, length_ = 0, step_ = 0;
  std::vector<int32_t> ids_;
};

class Trajectory : public testing::TestWithParam<Case> {};

TEST_P(Trajectory, FollowsPyTorch) {
  const Case& c = GetParam();
  ThreadPool pool(1);
  Context ctx{pool, kernels::best()};
  auto model = golden_model(ctx, c.model);
  make_trainable(*model);
  const std::vector<float> start = all_values(*model);
  const SafetensorsFile golden(golden_path(std::string("trajectories/") + c.name + ".safetensors"));
  const std::vector<float> losses = floats(golden, "loss"), norms = floats(golden, "grad_norm"),
                           lr = floats(golden, "lr");
  GoldenData data(golden);

  TrainOptions options;
  options.batch = data.rows();
  options.micro_batch = c.micro_batch;
  options.context = data.length();
  options.optimizer.name = c.optimizer;
  options.optimizer.lr = lr.back();
  options.schedule = {.name = "constant", .warmup_steps = 5};
  options.balance_alpha = 0;
  std::atomic<bool> stop{false};
  TrainerHooks hooks;
  hooks.stop = &stop;
  hooks.on_step = [&](const StepRecord& record) {
    const auto i = static_cast<size_t>(record.step - 1);
    EXPECT_NEAR(record.lr / lr[i], 1, 1e-6);
    EXPECT_NEAR(record.loss / losses[i], 1, 1e-4) << "step " << record.step;
    EXPECT_NEAR(record.gradient_norm / norms[i], 1, 1e-3) << "step " << record.step;
    stop = i + 1 == losses.size();
  };
  Trainer(ctx, *model, data, options, {.steps = 10'000}, hooks).run();

  size_t at = 0;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    double norm = 0, change = 0;
    for (const float x : value.values()) {
      norm += static_cast<double>(x) * x;
      change += std::pow(static_cast<double>(x) - start[at++], 2);
    }
    if (info.role == Role::buffer) {
      EXPECT_LT(relative_error(value.values(), floats(golden, "final." + name)), 1e-4) << name;
      return;
    }
    EXPECT_NEAR(std::sqrt(norm) / floats(golden, "norm." + name)[0], 1, 1e-4) << name;
    EXPECT_NEAR(std::sqrt(change) / floats(golden, "change." + name)[0], 1, 2e-3) << name;
  });
  model->visit(each);
}

INSTANTIATE_TEST_SUITE_P(All, Trajectory,
                         testing::Values(Case{"llama_adamw", "llama_gqa", "adamw", 0},
                                         Case{"llama_muon", "llama_gqa", "muon", 1},
                                         Case{"v3_adamw", "v3_full", "adamw", 3},
                                         Case{"v3_muon", "v3_full", "muon", 0}));

}  // namespace
}  // namespace frugal
