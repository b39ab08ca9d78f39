// Losses against a teacher and their gradients, against PyTorch (tools/make_distill_golden.py).
#include <gtest/gtest.h>

#include "distill/cross.h"
#include "models/golden.h"

namespace frugal {
namespace {

class DistillGolden : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
  SafetensorsFile file;
  explicit DistillGolden(const char* name = "distill/losses.safetensors") : file(golden_path(name)) {}

  Tensor tensor(const std::string& name) {
    return Tensor::from(ctx, file.find(name)->shape, floats(file, name));
  }
  std::vector<int32_t> integers(const std::string& name) { return golden_batch(file, name).ids; }
  // Whatever they stand for, negative ones included.
  std::vector<int32_t> list(const std::string& name) const {
    std::vector<int32_t> out(file.find(name)->data.size() / 4);
    std::memcpy(out.data(), file.find(name)->data.data(), out.size() * 4);
    return out;
  }

  void expect_case(const std::string& name, const std::function<double(const Tensor&, const Tensor&)>& loss) {
    Tape tape;
    ctx.tape = &tape;
    Tensor hidden = tensor("hidden"), head = tensor("head");
    hidden.require_gradient(true);
    head.require_gradient(true);
    const double value = loss(hidden, head);
    tape.backward(ctx);
    ctx.tape = nullptr;
    const double expected = static_cast<double>(floats(file, name + ".loss")[0]);
    EXPECT_NEAR(value, expected, 1e-5 * std::abs(expected)) << name;
    EXPECT_LT(relative_error(hidden.gradient_values(), floats(file, name + ".dhidden")), 1e-4) << name;
    EXPECT_LT(relative_error(head.gradient_values(), floats(file, name + ".dhead")), 1e-4) << name;
  }
};

TEST_F(DistillGolden, Divergences) {
  const Tensor teacher = tensor("teacher_hidden"), teacher_head = tensor("teacher_head");
  const std::vector<int32_t> targets = list("targets");
  for (const auto& [name, kind] : {std::pair{"forward_kl", ops::Divergence::forward_kl},
                                   {"reverse_kl", ops::Divergence::reverse_kl},
                                   {"jensen_shannon", ops::Divergence::jensen_shannon},
                                   {"skew_forward_kl", ops::Divergence::skew_forward_kl},
                                   {"skew_reverse_kl", ops::Divergence::skew_reverse_kl}}) {
    const ops::DivergenceOptions options{kind, 0.3f, 1.7f, 0.75f, 0.25f};
    expect_case(name, [&](const Tensor& hidden, const Tensor& head) {
      return ops::divergence(ctx, hidden, head, teacher, teacher_head, targets, options, 1).loss_sum;
    });
  }
}

TEST_F(DistillGolden, SparseDistributions) {
  const std::vector<int32_t> ids = integers("top.ids");
  const std::vector<float> weights = floats(file, "top.weights"), tails = floats(file, "top.tails");
  const std::vector<int32_t> targets = list("targets");
  std::vector<int64_t> offsets;
  for (int64_t r = 0; r <= 12; ++r) offsets.push_back(r * 6);
  expect_case("sparse", [&](const Tensor& hidden, const Tensor& head) {
    return ops::sparse_cross_entropy(ctx, hidden, head, {offsets, ids, weights, {}}, {}, 0, 1).loss_sum;
  });
  expect_case("sparse_tail", [&](const Tensor& hidden, const Tensor& head) {
    return ops::sparse_cross_entropy(ctx, hidden, head, {offsets, ids, weights, tails}, targets, 0.25f, 1)
        .loss_sum;
  });
}

// Losses across tokenizers (the same script).
class CrossGolden : public DistillGolden {
 protected:
  CrossGolden() : DistillGolden("distill/cross.safetensors") {}
};

TEST_F(CrossGolden, SortedDistances) {
  const Tensor teacher = tensor("teacher_hidden");
  const std::vector<int32_t> targets = list("targets"), pairs = list("pairs");
  const std::vector<int64_t> rows(pairs.begin(), pairs.end());
  for (const char* name : {"uld_larger", "uld_smaller"}) {
    const Tensor teacher_head = tensor(std::string(name) + ".teacher_head");
    ops::DivergenceOptions options;
    options.temperature = 1.7f;
    options.weight = 0.75f;
    options.hard_weight = 0.25f;
    expect_case(name, [&](const Tensor& hidden, const Tensor& head) {
      const auto result =
          ops::sorted_distance(ctx, hidden, head, teacher, teacher_head, rows, targets, options, 1);
      EXPECT_EQ(result.counted, 7);
      return result.loss_sum;
    });
  }
}

TEST_F(CrossGolden, ChunksLikelihoods) {
  const std::vector<int32_t> targets = list("targets"), bounds = list("chunks");
  std::vector<AlignedRows::Chunk> chunks;
  std::vector<double> teacher;
  for (size_t c = 0; c < bounds.size() / 2; ++c) {
    chunks.push_back({bounds[2 * c], bounds[2 * c + 1], 0, 0});
    teacher.push_back(static_cast<double>(floats(file, "likelihoods")[c]));
  }
  expect_case("alm", [&](const Tensor& hidden, const Tensor& head) {
    return match_likelihoods(
        ctx, hidden, head, targets, chunks, teacher,
        [](int64_t) {
          return DistillWeights{0.75, 0.25};
        },
        100, 1);
  });
}

}  // namespace
}  // namespace frugal
