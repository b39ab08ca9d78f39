#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "kernels/dispatch.h"

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

}  // namespace
}  // namespace frugal
