// Losses against a teacher and their gradients, against PyTorch (tools/make_distill_golden.py).
#include <gtest/gtest.h>

#include "models/golden.h"

namespace frugal {
namespace {

class DistillGolden : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
  SafetensorsFile file{golden_path("distill/losses.safetensors")};

  Tensor tensor(const std::string& name) {
    return Tensor::from(ctx, file.find(name)->shape, floats(file, name));
  }
  std::vector<int32_t> integers(const std::string& name) { return golden_batch(file, name).ids; }

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
  std::vector<int32_t> targets(12);
  std::memcpy(targets.data(), file.find("targets")->data.data(), 48);
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
  std::vector<int32_t> targets(12);
  std::memcpy(targets.data(), file.find("targets")->data.data(), 48);
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

}  // namespace
}  // namespace frugal
