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

// Every code and exponent, and rows of two matrices that alternate.
TEST_F(TensorTest, Mxfp4InTwoPartsIsReadAndPacked) {
  constexpr float kCodes[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, 0, -.5f, -1, -1.5f, -2, -3, -4, -6};
  constexpr int64_t kRows = 6, kCols = 64, kBlocks = kCols / 32;
  std::vector<std::byte> codes, exponents;
  for (int64_t i = 0; i < kRows * kCols / 2; ++i)
    codes.push_back(std::byte{static_cast<uint8_t>((i * 37 + 11) % 256)});
  for (const int e : {0, 1, 2, 64, 126, 127, 128, 130, 200, 250, 3, 90})
    exponents.push_back(std::byte{static_cast<uint8_t>(e)});
  const auto value = [&](int64_t row, int64_t col) {
    const auto byte = std::to_integer<unsigned>(codes[static_cast<size_t>((row * kCols + col) / 2)]);
    const auto e = std::to_integer<int>(exponents[static_cast<size_t>(row * kBlocks + col / 32)]);
    return std::ldexp(kCodes[col % 2 == 0 ? byte & 15 : byte >> 4], e - 127);
  };
  for (const int64_t step : {1, 2, 3}) {
    for (int64_t first = 0; first < step; ++first) {
      const int64_t rows = kRows / step;
      const Tensor factors =
          Tensor::alias({rows, kBlocks}, formats::f8_e8m0, exponents.data() + first * kBlocks, nullptr);
      const Tensor t =
          Tensor::alias({rows, kCols}, formats::f4_e2m1, codes.data() + first * kCols / 2, nullptr)
              .with_scales({factors, 1, 32, step});
      ASSERT_TRUE(is_split_mxfp4(t));
      const std::vector<float> got = t.decoded();
      for (int64_t i = 0; i < t.size(); ++i)
        ASSERT_EQ(got[static_cast<size_t>(i)], value(first + i / kCols * step, i % kCols)) << i;
      Tensor packed = Tensor::empty(ctx, t.shape(), formats::mxfp4);
      pack_mxfp4(t, 0, 1, packed.data());
      pack_mxfp4(t, 1, rows, packed.data() + formats::mxfp4.bytes(kCols));
      EXPECT_EQ(packed.decoded(), got);
    }
  }
  EXPECT_FALSE(is_split_mxfp4(Tensor::zeros(ctx, {2, 32})));
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
