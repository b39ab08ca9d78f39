// Multi-head latent attention over a cache: the decompressed form in all its tilings and formats, and the
// absorbed form on quantised weights, against the plain composition of ops in f32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "core/error.h"
#include "kernels/dispatch.h"

namespace frugal {
namespace {

constexpr ops::MlaDims kDims{.heads = 9, .nope = 8, .rope = 32, .v = 6, .rank = 32};
constexpr int64_t kWidth = kDims.rank + kDims.rope, kQk = kDims.nope + kDims.rope;
constexpr float kScale = 0.3f;

class Mla : public testing::TestWithParam<int64_t> {
 protected:
  ThreadPool pool{3};
  Context ctx{pool, kernels::best()};
  const int64_t keys_ = GetParam();
  const int64_t queries_ = std::min<int64_t>(keys_, 7);
  const Tensor q_ = random_tensor(ctx, {queries_, kDims.heads*kQk}, 1),
               rows_ = random_tensor(ctx, {keys_, kWidth}, 2),
               kv_b_ = random_tensor(ctx, {kDims.heads * (kDims.nope + kDims.v), kDims.rank}, 3, 0.3);

  Tensor stored(const Tensor& x, const Format& format) {
    Tensor out = Tensor::empty(ctx, x.shape(), format);
    format.encode(x.f32(), out.data(), x.size());
    return out;
  }
  Tensor decoded(const Tensor& x) {
    Tensor out = Tensor::empty(ctx, x.shape());
    x.format().decode(x.data(), out.f32(), x.size());
    return out;
  }
  // All heads and keys at once in f32.
  Tensor expected(const Tensor& rows, const Tensor& kv_b) {
    const Tensor latent = ops::columns(ctx, rows, 0, kDims.rank),
                 k_pe = ops::columns(ctx, rows, kDims.rank, kWidth);
    const auto [keys, values] = ops::mla_keys_values(ctx, ops::linear(ctx, latent, kv_b), k_pe, kDims);
    const ops::CachedKeys cached{keys.data(), values.data(), keys_};
    const std::vector<int64_t> offsets{0, queries_};
    return ops::attention_cached(
        ctx, q_, offsets, {&cached, 1},
        {.heads = kDims.heads, .kv_heads = kDims.heads, .qk_dim = kQk, .v_dim = kDims.v, .scale = kScale});
  }
  Tensor prompt(const Tensor& cache, const Tensor& kv_b, int64_t memory = 1 << 20) {
    return ops::mla_prompt(ctx, q_, kv_b, {cache.data(), cache.data(), keys_}, kDims, kScale, cache.format(),
                           memory);
  }
  Tensor absorbed(const Tensor& cache, const Tensor& kv_b) {
    const ops::CachedKeys cached{cache.data(), cache.data(), keys_, true};
    const std::vector<int64_t> offsets{0, queries_};
    return ops::mla_absorbed(ctx, q_, kv_b, offsets, {&cached, 1}, kDims, kScale, cache.format());
  }
  // Largest difference over the largest value.
  static double difference(const Tensor& a, const Tensor& b) {
    double most = 0, worst = 0;
    for (size_t i = 0; i < b.values().size(); ++i) {
      most = std::max(most, std::abs(double{b.values()[i]}));
      const double error = std::abs(double{a.values()[i]} - double{b.values()[i]});
      if (!(error <= worst)) worst = error;  // also true for NaN
    }
    return worst / most;
  }
  static bool same_bits(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && std::memcmp(a.f32(), b.f32(), static_cast<size_t>(a.bytes())) == 0;
  }
};

TEST_P(Mla, PromptsAreWrittenOutAnyNumberOfHeadsAtATime) {
  const Tensor want = expected(rows_, kv_b_);
  const Tensor all = prompt(rows_, kv_b_);
  EXPECT_LT(difference(all, want), 1e-5);
  EXPECT_LT(difference(absorbed(rows_, kv_b_), want), 1e-5);
  const int64_t head = keys_ * (kQk + kDims.v) * 4;
  EXPECT_TRUE(same_bits(prompt(rows_, kv_b_, 1), all));
  EXPECT_TRUE(same_bits(prompt(rows_, kv_b_, 2 * head), all));
}

TEST_P(Mla, ExactComputingWidensWhatIsStored) {
  for (const Format* format : {&formats::bf16, &formats::q8_0}) {
    const Tensor cache = stored(rows_, *format), weight = stored(kv_b_, formats::q8_0);
    EXPECT_LT(difference(prompt(cache, weight), expected(decoded(cache), decoded(weight))), 1e-5);
  }
}

TEST_P(Mla, FastComputingStaysClose) {
  const Tensor cache = stored(rows_, formats::bf16);
  for (const Format* format : {&formats::f32, &formats::bf16, &formats::q8_0, &formats::q4_0}) {
    SCOPED_TRACE(format->name);
    const Tensor weight = stored(kv_b_, *format);
    ctx.compute = Compute::exact;
    const Tensor want = expected(decoded(cache), decoded(weight));
    EXPECT_LT(difference(absorbed(cache, weight), want), 1e-5);
    ctx.compute = Compute::fast;
    EXPECT_TRUE(ops::mla_absorbs_as_stored(ctx, weight));
    for (const Tensor& got : {prompt(cache, weight), absorbed(cache, weight)}) {
      EXPECT_LT(difference(got, want), 0.02);
      if (keys_ > 1) {
        EXPECT_GT(difference(got, want), 1e-6) << "nothing was rounded";
      }
    }
  }
}

// Each prompt row alone gives what it gives among others.
TEST_P(Mla, RowsDoNotChangeEachOthersBits) {
  const Tensor cache = stored(rows_, formats::bf16), weight = stored(kv_b_, formats::q4_0);
  for (const Compute compute : {Compute::exact, Compute::fast}) {
    ctx.compute = compute;
    const Tensor all = prompt(cache, weight);
    for (int64_t row = 0; row < queries_; ++row) {
      const Tensor own = ops::gather_rows(ctx, q_, std::vector<int64_t>{row});
      const Tensor got =
          ops::mla_prompt(ctx, own, weight, {cache.data(), cache.data(), keys_ - (queries_ - 1 - row)}, kDims,
                          kScale, cache.format());
      EXPECT_EQ(std::memcmp(got.f32(), all.f32() + row * all.cols(),
                            sizeof(float) * static_cast<size_t>(all.cols())),
                0)
          << row;
    }
  }
}

TEST_P(Mla, ThreadsDoNotChangeBits) {
  const Tensor cache = stored(rows_, formats::bf16), weight = stored(kv_b_, formats::q4_0);
  ctx.compute = Compute::fast;
  const Tensor want = prompt(cache, weight), want_absorbed = absorbed(cache, weight);
  for (const int threads : {1, 2, 8}) {
    ThreadPool other(threads);
    Context own{other, kernels::best()};
    own.compute = Compute::fast;
    EXPECT_TRUE(same_bits(
        ops::mla_prompt(own, q_, weight, {cache.data(), cache.data(), keys_}, kDims, kScale, cache.format()),
        want));
    const ops::CachedKeys cached{cache.data(), cache.data(), keys_, true};
    const std::vector<int64_t> offsets{0, queries_};
    EXPECT_TRUE(
        same_bits(ops::mla_absorbed(own, q_, weight, offsets, {&cached, 1}, kDims, kScale, cache.format()),
                  want_absorbed));
  }
}

INSTANTIATE_TEST_SUITE_P(Keys, Mla, testing::Values(1, 21, 300, 1100));

TEST(MlaWeights, AbsorbedAsStored) {
  ThreadPool pool(1);
  Context ctx{pool, kernels::best()};
  const auto reads = [&](const Format& format) {
    return ops::mla_absorbs_as_stored(ctx, Tensor::declare({8, 256}, format));
  };
  ctx.compute = Compute::exact;
  EXPECT_TRUE(reads(formats::f32) && reads(formats::bf16));
  EXPECT_FALSE(reads(formats::q4_0));  // decoded once
  ctx.compute = Compute::fast;
  EXPECT_TRUE(reads(formats::q4_0) && reads(formats::q8_0));
  EXPECT_FALSE(reads(formats::q4_k));
}

}  // namespace
}  // namespace frugal
