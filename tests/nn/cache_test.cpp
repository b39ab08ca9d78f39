#include "nn/cache.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "kernels/dispatch.h"

namespace frugal {
namespace {

TEST(Cache, AppendsTruncatesAndSaysWhenItIsFull) {
  ThreadPool pool(1);
  const Context ctx{pool, kernels::best()};
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

}  // namespace
}  // namespace frugal
