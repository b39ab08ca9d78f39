// Losses against a teacher: gradients against differences of the loss, values against formulas in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "kernels/dispatch.h"

namespace frugal {
namespace {

class DistillationOps : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
  const Tensor hidden = random_tensor(ctx, {5, 4}, 1), head = random_tensor(ctx, {7, 4}, 2);

  using Loss = std::function<double(const Tensor& hidden, const Tensor& head)>;

  // The gradients that the op leaves against central differences, for hidden rows and head.
  void expect_gradients(const Loss& loss) {
    Tape tape;
    ctx.tape = &tape;
    Tensor h = Tensor::from(ctx, hidden.shape(), hidden.values()),
           w = Tensor::from(ctx, head.shape(), head.values());
    h.require_gradient(true);
    w.require_gradient(true);
    loss(h, w);
    tape.backward(ctx);
    ctx.tape = nullptr;
    for (const bool of_head : {false, true}) {
      const Tensor& leaf = of_head ? w : h;
      for (int64_t i = 0; i < leaf.size(); ++i) {
        double side[2];
        for (const int k : {0, 1}) {
          Tensor a = Tensor::from(ctx, hidden.shape(), hidden.values()),
                 b = Tensor::from(ctx, head.shape(), head.values());
          (of_head ? b : a).f32()[i] += k == 0 ? 1e-2f : -1e-2f;
          side[k] = loss(a, b);
        }
        EXPECT_NEAR(leaf.gradient()[i], (side[0] - side[1]) / 2e-2, 3e-3)
            << (of_head ? "head " : "hidden ") << i;
      }
    }
  }
  std::vector<double> probabilities(int64_t row, double temperature = 1) const {
    std::vector<double> p(7);
    double sum = 0;
    for (int64_t v = 0; v < 7; ++v) {
      double z = 0;
      for (int64_t d = 0; d < 4; ++d) {
        z += static_cast<double>(hidden.f32()[row * 4 + d]) * static_cast<double>(head.f32()[v * 4 + d]);
      }
      sum += p[static_cast<size_t>(v)] = std::exp(z / temperature);
    }
    for (double& value : p) value /= sum;
    return p;
  }
};

// Row 1 says nothing, row 3 is a hard target only.
const std::vector<int64_t> kOffsets = {0, 2, 2, 5, 5, 6};
const std::vector<int32_t> kIds = {0, 5, 1, 2, 6, 3};
const std::vector<float> kWeights = {0.25f, 0.5f, 0.125f, 0.5f, 0.25f, 0.75f};
const std::vector<float> kTails = {0.25f, 0, 0.125f, 0, 0.25f};
const std::vector<int32_t> kHard = {5, -1, 4, 2, -1};

TEST_F(DistillationOps, SparseCrossEntropyGradients) {
  for (const bool tails : {false, true}) {
    for (const float hard : {0.0f, 0.5f}) {
      const ops::SparseTargets targets{kOffsets, kIds, kWeights,
                                       tails ? std::span<const float>(kTails) : std::span<const float>()};
      expect_gradients([&](const Tensor& h, const Tensor& w) {
        const auto result = ops::sparse_cross_entropy(ctx, h, w, targets, kHard, hard, 1);
        EXPECT_EQ(result.counted, hard > 0 ? 4 : 3);
        return result.loss_sum;
      });
    }
  }
}

TEST_F(DistillationOps, SparseCrossEntropyIsItsFormula) {
  double expected = 0;
  for (size_t r = 0; r < 5; ++r) {
    const auto q = probabilities(static_cast<int64_t>(r));
    double rest = 1;
    for (auto i = static_cast<size_t>(kOffsets[r]); i < static_cast<size_t>(kOffsets[r + 1]); ++i) {
      expected -= static_cast<double>(kWeights[i]) * std::log(q[static_cast<size_t>(kIds[i])]);
      rest -= q[static_cast<size_t>(kIds[i])];
    }
    expected -= static_cast<double>(kTails[r]) * std::log(rest);
    if (kHard[r] >= 0) expected -= 0.5 * std::log(q[static_cast<size_t>(kHard[r])]);
  }
  const auto result =
      ops::sparse_cross_entropy(ctx, hidden, head, {kOffsets, kIds, kWeights, kTails}, kHard, 0.5f, 1);
  EXPECT_NEAR(result.loss_sum, expected, 1e-5);
}

TEST_F(DistillationOps, OneHotIsCrossEntropy) {
  const std::vector<int32_t> targets = {3, 0, 6, 6, 1};
  const std::vector<int64_t> offsets = {0, 1, 2, 3, 4, 5};
  const std::vector<float> ones(5, 1.0f);
  const double expected = ops::cross_entropy(ctx, hidden, head, targets, 1).loss_sum;
  EXPECT_NEAR(ops::sparse_cross_entropy(ctx, hidden, head, {offsets, targets, ones, {}}, {}, 0, 1).loss_sum,
              expected, 1e-5);
}

constexpr ops::Divergence kKinds[] = {ops::Divergence::forward_kl, ops::Divergence::reverse_kl,
                                      ops::Divergence::jensen_shannon, ops::Divergence::skew_forward_kl,
                                      ops::Divergence::skew_reverse_kl};

TEST_F(DistillationOps, DivergenceGradients) {
  const Tensor teacher = random_tensor(ctx, {5, 3}, 3), teacher_head = random_tensor(ctx, {7, 3}, 4);
  for (const auto kind : kKinds) {
    const ops::DivergenceOptions options{kind, 0.3f, 1.5f, 0.8f, 0.4f};
    expect_gradients([&](const Tensor& h, const Tensor& w) {
      return ops::divergence(ctx, h, w, teacher, teacher_head, kHard, options, 1).loss_sum;
    });
  }
}

// Vocabularies padded to other sizes: what one of them lacks is in neither distribution.
TEST_F(DistillationOps, DivergenceOfPaddedVocabularies) {
  const Tensor teacher = random_tensor(ctx, {5, 3}, 3);
  for (const int64_t vocab : {6, 9}) {
    const Tensor teacher_head = random_tensor(ctx, {vocab, 3}, 4);
    const ops::DivergenceOptions options{ops::Divergence::reverse_kl, 0.5f, 1.5f, 0.8f, 0.4f};
    const auto loss = [&](const Tensor& h, const Tensor& w, const Tensor& of_teacher) {
      return ops::divergence(ctx, h, w, teacher, of_teacher, kHard, options, 1).loss_sum;
    };
    expect_gradients([&](const Tensor& h, const Tensor& w) { return loss(h, w, teacher_head); });
    const int64_t both = std::min<int64_t>(vocab, 7);
    const auto first = [&](const Tensor& of, int64_t width) {
      return Tensor::from(ctx, {both, width}, of.values().first(static_cast<size_t>(both * width)));
    };
    EXPECT_NEAR(loss(hidden, head, teacher_head), loss(hidden, first(head, 4), first(teacher_head, 3)), 1e-6);
  }
}

// Two vocabularies of other sizes, rows without a teacher, and a target alone.
TEST_F(DistillationOps, SortedDistanceGradients) {
  const Tensor teacher = random_tensor(ctx, {3, 3}, 3);
  for (const int64_t vocab : {4, 7, 11}) {
    const Tensor teacher_head = random_tensor(ctx, {vocab, 3}, 4);
    const std::vector<int64_t> rows = {2, 0, -1, 0, 1};
    ops::DivergenceOptions options;
    options.temperature = 1.5f;
    options.weight = 0.8f;
    options.hard_weight = 0.4f;
    expect_gradients([&](const Tensor& h, const Tensor& w) {
      const auto result = ops::sorted_distance(ctx, h, w, teacher, teacher_head, rows, kHard, options, 1);
      EXPECT_EQ(result.counted, 3);
      return result.loss_sum;
    });
  }
}

// Which word is which does not matter: the same distribution in another order is at no distance.
TEST_F(DistillationOps, SortedDistanceKnowsNoWords) {
  Tensor shuffled = Tensor::from(ctx, head.shape(), head.values());
  for (int64_t v = 0; v < 7; ++v) {
    std::copy_n(head.f32() + v * 4, 4, shuffled.f32() + (v * 3 % 7) * 4);
  }
  const std::vector<int64_t> rows = {0, 1, 2, 3, 4};
  EXPECT_NEAR(ops::sorted_distance(ctx, hidden, head, hidden, shuffled, rows, kHard, {}, 1).loss_sum, 0,
              1e-5);
}

TEST_F(DistillationOps, DivergencesAreZeroFromOneself) {
  for (const auto kind : kKinds) {
    EXPECT_NEAR(ops::divergence(ctx, hidden, head, hidden, head, kHard, {.kind = kind}, 1).loss_sum, 0, 1e-6);
  }
}

// The skewed forms towards a mixture that is nearly one side, and Jensen-Shannon at its ends, are the plain
// ones.
TEST_F(DistillationOps, DivergencesMeetAtTheirEnds) {
  const Tensor teacher = random_tensor(ctx, {5, 4}, 3);
  const auto loss = [&](ops::Divergence kind, float beta) {
    return ops::divergence(ctx, hidden, head, teacher, head, kHard, {.kind = kind, .beta = beta}, 1).loss_sum;
  };
  const double forward = loss(ops::Divergence::forward_kl, 0.5f),
               reverse = loss(ops::Divergence::reverse_kl, 0.5f);
  EXPECT_GT(std::abs(forward - reverse), 0.1);
  EXPECT_NEAR(loss(ops::Divergence::skew_forward_kl, 1e-5f), forward, 1e-3);
  EXPECT_NEAR(loss(ops::Divergence::skew_reverse_kl, 1e-5f), reverse, 1e-3);
  EXPECT_NEAR(loss(ops::Divergence::jensen_shannon, 1e-3f) / 1e-3, forward, 5e-2);
  EXPECT_NEAR(loss(ops::Divergence::jensen_shannon, 1 - 1e-3f) / 1e-3, reverse, 5e-2);
}

}  // namespace
}  // namespace frugal
