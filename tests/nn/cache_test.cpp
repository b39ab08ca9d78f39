#include "nn/cache.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "kernels/dispatch.h"

namespace frugal {
namespace {

TEST(Cache, AppendsTruncatesAndSaysWhenItIsFull) {
  ThreadPool pool(1);
  Context ctx{pool, kernels::best()};
  for (const Format* format : {&formats::f32, &formats::bf16}) {
    Cache cache(ctx, {{2, 1}, {3, 0}}, 2, 4, *format);
    EXPECT_EQ(cache.bytes(), format->bytes(2 * 4 * (2 + 1 + 3)));
    const Batch batch = Batch::single({7, 8, 9}, 0, 1);
    const Tensor k = Tensor::from(ctx, {3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6});
    cache.append(ctx, 0, batch, k, Tensor::from(ctx, {3, 1}, std::vector<float>{1, 2, 3}));
    EXPECT_EQ(cache.length(1), 0);
    cache.advance(batch);
    EXPECT_EQ(cache.length(1), 3);
    EXPECT_EQ(cache.length(0), 0);
    EXPECT_EQ(cache.decoded(ctx, 0, 1, 3).f32()[5], 6.0f);
    try {
      cache.append(ctx, 0, Batch::single({1, 2}, 3, 1), k, k);
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("4 tokens fit, 5 are needed"), std::string::npos);
    }
    cache.truncate(1, 1);
    EXPECT_EQ(cache.length(1), 1);
    EXPECT_THROW(cache.truncate(1, 2), std::logic_error);
  }
}

TEST(Cache, BlockFormatsNeedHeadsOfWholeBlocks) {
  ThreadPool pool(1);
  Context ctx{pool, kernels::best()};
  Cache cache(ctx, {{.k_width = 64, .v_width = 64, .part = 32}}, 1, 4, formats::q8_0);
  EXPECT_EQ(cache.bytes(), 4 * (64 + 64) / 32 * 34);
  std::vector<float> row;
  for (int i = 0; i < 128; ++i) row.push_back(static_cast<float>(i % 64 - 20));
  const Tensor rows = Tensor::from(ctx, {2, 64}, row);
  const Batch batch = Batch::single({1, 2});
  cache.append(ctx, 0, batch, rows, rows);
  cache.advance(batch);
  const Tensor back = cache.decoded(ctx, 0, 0, 2);
  for (size_t i = 0; i < row.size(); ++i) EXPECT_NEAR(back.values()[i], row[i], 43.0 / 254) << i;
  const auto message = [&](const CacheLayer& layer, const Format& format) {
    try {
      Cache(ctx, {layer}, 1, 4, format);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(
      message({.k_width = 96, .v_width = 96, .part = 48}, formats::q8_0),
      "keys and values as q8_0 are stored in blocks of 32, but this model's heads are 48 wide; use bf16");
  EXPECT_EQ(message({.k_width = 64, .v_width = 64, .part = 32}, formats::q4_0),
            "keys and values cannot be kept as q4_0; expected f32, bf16 or q8_0");
}

}  // namespace
}  // namespace frugal
