#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "kernels/dispatch.h"
#include "tensor/block_scales.h"

namespace frugal {
namespace {

class TensorTest : public testing::Test {
 protected:
  ThreadPool pool{1};
  Context ctx{pool, kernels::best()};
};

TEST_F(TensorTest, DeclaredTensorsCountWithoutStorage) {
  const Tensor t = Tensor::declare({1'000'000, 1'000'000}, formats::bf16);
  EXPECT_EQ(t.bytes(), 2'000'000'000'000);
  EXPECT_FALSE(t.allocated());
  EXPECT_THROW(t.f32(), std::logic_error);
}

TEST_F(TensorTest, GradientsAreOverwrittenThenAddedTo) {
  Tensor t = Tensor::zeros(ctx, {2, 2});
  EXPECT_FALSE(t.needs_gradient());
  t.require_gradient(true);
  EXPECT_FALSE(t.gradient_target(ctx).accumulate);
  EXPECT_TRUE(t.gradient_target(ctx).accumulate);
  const Tensor view = t.reshaped({4});
  EXPECT_EQ(view.gradient(), t.gradient());
  t.zero_gradient();
  EXPECT_FALSE(view.has_gradient());
  EXPECT_EQ(t.gradient_sum(ctx)[3], 0.0f);
}

TEST_F(TensorTest, AllocatorReusesBlocksAndCountsThePeak) {
  const auto memory = Allocator::create();
  const std::byte* first = memory->allocate(100'000).get();
  EXPECT_EQ(memory->in_use(), 0u);
  EXPECT_GE(memory->peak(), 100'000u);
  EXPECT_EQ(memory->allocate(99'000).get(), first);
  EXPECT_THROW(memory->allocate(size_t{1} << 60), Error);
}

TEST_F(TensorTest, RowsOfAnyFormatDecodeAlone) {
  Tensor t = Tensor::empty(ctx, {4, 64}, formats::q8_0);
  std::vector<float> values(256);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  formats::q8_0.encode(values.data(), t.data(), 256);
  const std::vector<float> all = t.decoded();
  std::vector<float> two(128);
  t.decode_rows(1, 3, two.data());
  EXPECT_TRUE(std::equal(two.begin(), two.end(), all.begin() + 64));
  EXPECT_THROW(t.decode_rows(3, 5, two.data()), std::logic_error);
}

TEST_F(TensorTest, FactorsOfBlocksCount) {
  Tensor codes = Tensor::zeros(ctx, {3, 5});
  std::fill_n(codes.f32(), 15, 1.0f);
  const Tensor factors = Tensor::from(ctx, {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const Tensor t = codes.with_scales({factors, 2, 2});  // ragged on both sides
  EXPECT_EQ(t.decoded(), (std::vector<float>{1, 1, 2, 2, 3, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6}));
  EXPECT_EQ(t.detached().decoded(), t.decoded());
  EXPECT_EQ(codes.decoded(), std::vector<float>(15, 1.0f));
  EXPECT_THROW(codes.with_scales({factors, 128, 128}), std::logic_error);
  EXPECT_THROW(t.reshaped({15}), std::logic_error);
}

TEST_F(TensorTest, Fp8BlocksKeepThreeBitsAtEveryMagnitude) {
  Tensor t = Tensor::empty(ctx, {200, 130});
  for (int64_t i = 0; i < t.size(); ++i) {  // blocks of very different size
    const bool small = i / 130 < 128 && i % 130 < 128;
    t.f32()[i] = std::sin(static_cast<float>(i)) * (small ? 1e-6f : 1e4f);
  }
  t.f32()[150 * 130 + 3] = 0;
  const Tensor fp8 = fp8_with_scales(ctx, t);
  EXPECT_EQ(fp8.scales()->factors.shape(), (Shape{2, 2}));
  EXPECT_EQ(fp8.bytes(), t.size());
  const std::vector<float> out = fp8.decoded();
  for (int64_t i = 0; i < t.size(); ++i) {
    const float x = t.f32()[i], unit = i / 130 < 128 && i % 130 < 128 ? 1e-6f : 1e4f;
    ASSERT_NEAR(out[static_cast<size_t>(i)], x, std::max(std::fabs(x) / 15.9f, unit * 3e-6f)) << i;
  }
  const Tensor zeros = fp8_with_scales(ctx, Tensor::zeros(ctx, {2, 2}));
  EXPECT_EQ(zeros.decoded(), std::vector<float>(4, 0.0f));
}

}  // namespace
}  // namespace frugal
