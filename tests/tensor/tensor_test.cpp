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

TEST(Formats, RoundTripOfEveryFormatIsStable) {
  for (const Format* format : all_formats()) {
    EXPECT_EQ(&find_format(format->name), format);
    std::vector<float> values(static_cast<size_t>(format->block) * 8), again(values.size());
    for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 3;
    std::vector<std::byte> bytes(static_cast<size_t>(format->bytes(static_cast<int64_t>(values.size()))));
    const auto n = static_cast<int64_t>(values.size());
    format->encode(values.data(), bytes.data(), n);
    format->decode(bytes.data(), values.data(), n);
    format->encode(values.data(), bytes.data(), n);
    format->decode(bytes.data(), again.data(), n);
    EXPECT_EQ(values, again) << format->name;
  }
  EXPECT_THROW(find_format("q9_9"), UsageError);
}

TEST(Formats, SixteenBitRoundsToNearestEven) {
  const auto through = [](const Format& format, float x) {
    std::byte bytes[2];
    format.encode(&x, bytes, 1);
    format.decode(bytes, &x, 1);
    return x;
  };
  EXPECT_EQ(through(formats::bf16, 1.00390625f), 1.0f);       // halfway, to even
  EXPECT_EQ(through(formats::bf16, 1.01171875f), 1.015625f);  // halfway, to even, upwards
  EXPECT_TRUE(std::isnan(through(formats::bf16, std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(through(formats::f16, 65504.0f), 65504.0f);
  EXPECT_TRUE(std::isinf(through(formats::f16, 65520.0f)));
  EXPECT_EQ(through(formats::f16, 0x1p-24f), 0x1p-24f);  // the smallest subnormal
  EXPECT_EQ(through(formats::f16, 0x1.8p-24f), 0x1p-23f);
  EXPECT_EQ(through(formats::f16, -0.333251953125f), -0.333251953125f);
  for (uint32_t half = 0; half < 65536; ++half) {  // every f16 survives
    const auto bits = static_cast<uint16_t>(half);
    float x;
    std::byte bytes[2];
    std::memcpy(bytes, &bits, 2);
    formats::f16.decode(bytes, &x, 1);
    if (std::isnan(x)) continue;
    formats::f16.encode(&x, bytes, 1);
    uint16_t back;
    std::memcpy(&back, bytes, 2);
    ASSERT_EQ(back, bits);
  }
}

}  // namespace
}  // namespace frugal
