#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/for_each_table.h"
#include "tensor/format.h"

namespace frugal::kernels {
namespace {

uint32_t bits_of(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// bf16 by its definition: the nearer of the two neighbours, the even one of a tie.
uint16_t reference_bf16(float x) {
  const uint32_t bits = bits_of(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  const uint32_t low = bits & 0xffff, high = bits >> 16;
  const bool up = low > 0x8000 || (low == 0x8000 && high % 2 == 1);
  return static_cast<uint16_t>(high + (up ? 1 : 0));
}

std::vector<float> special_and_random(int count) {
  const float inf = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min();
  std::vector<float> x = {0.0f, -0.0f, 1.0f,  -1.0f,       inf,         -inf,
                          NAN,  tiny,  -tiny, 1.00390625f, 1.01171875f, 3.4028235e38f};
  Rng rng(7);
  while (static_cast<int>(x.size()) < count) {
    const uint32_t bits = rng.bits();
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    x.push_back(value);
  }
  return x;
}

TEST(Convert, Bf16RoundsToNearestEvenAndBackIsExact) {
  const auto x = special_and_random(5000);
  for_each_table([&](const Table& table) {
    std::vector<uint16_t> y(x.size());
    std::vector<float> back(x.size());
    table.f32_to_bf16(static_cast<int64_t>(x.size()), x.data(), y.data());
    table.bf16_to_f32(static_cast<int64_t>(x.size()), y.data(), back.data());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(y[i], reference_bf16(x[i])) << x[i];
      EXPECT_EQ(bits_of(back[i]), uint32_t{y[i]} << 16);
    }
  });
}

TEST(Convert, WritesExactlyNAtAnyOffset) {
  const auto x = special_and_random(100);
  for_each_table([&](const Table& table) {
    for (int n = 0; n <= 2 * table.lanes + 1; ++n) {
      for (int offset = 0; offset < 3; ++offset) {
        std::vector<uint16_t> y(100, 0xbeef);
        table.f32_to_bf16(n, x.data() + offset, y.data() + offset);
        std::vector<float> z(100, 42.0f), e(100, 42.0f);
        table.bf16_to_f32(n, y.data() + offset, z.data() + offset);
        table.exp(n, x.data() + offset, e.data() + offset);
        for (int i = 0; i < 100; ++i) {
          const bool inside = i >= offset && i < offset + n;
          EXPECT_EQ(y[static_cast<size_t>(i)], inside ? reference_bf16(x[static_cast<size_t>(i)]) : 0xbeef);
          if (inside) continue;
          EXPECT_EQ(z[static_cast<size_t>(i)], 42.0f);
          EXPECT_EQ(e[static_cast<size_t>(i)], 42.0f);
        }
      }
    }
  });
}

TEST(Convert, ExpIsWithinTwoUlp) {
  std::vector<float> x;
  for (float v = -104.5f; v < 89.5f; v += 0.0017f) x.push_back(v);
  for (float v = -1e-3f; v < 1e-3f; v += 1.1e-6f) x.push_back(v);
  for_each_table([&](const Table& table) {
    std::vector<float> y(x.size());
    table.exp(static_cast<int64_t>(x.size()), x.data(), y.data());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = std::exp(static_cast<double>(x[i]));
      if (want > std::numeric_limits<float>::max()) {
        EXPECT_TRUE(std::isinf(y[i])) << x[i];
        continue;
      }
      const float rounded = static_cast<float>(want);
      const double ulp =
          static_cast<double>(std::nextafter(rounded, INFINITY)) - static_cast<double>(rounded);
      worst = std::max(worst, std::abs(static_cast<double>(y[i]) - want) / ulp);
    }
    EXPECT_LT(worst, 2.0);
    const float special[] = {-INFINITY, INFINITY, NAN, 0.0f, -1e30f, 1e30f};
    float out[6];
    table.exp(6, special, out);
    EXPECT_EQ(out[0], 0.0f);
    EXPECT_TRUE(std::isinf(out[1]));
    EXPECT_TRUE(std::isnan(out[2]));
    EXPECT_EQ(out[3], 1.0f);
    EXPECT_EQ(out[4], 0.0f);
    EXPECT_TRUE(std::isinf(out[5]));
  });
}

TEST(Convert, EveryF16) {
  std::vector<uint16_t> codes(65536 + 5);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint16_t>(i);
  std::vector<float> want(codes.size());
  formats::f16.decode(reinterpret_cast<const std::byte*>(codes.data()), want.data(), std::ssize(codes));
  for_each_table([&](const Table& table) {
    std::vector<float> got(codes.size());
    table.f16_to_f32(std::ssize(codes), codes.data(), got.data());
    for (size_t i = 0; i < codes.size(); ++i) {
      if (std::isnan(want[i])) {
        ASSERT_TRUE(std::isnan(got[i])) << i;
      } else {
        ASSERT_EQ(std::memcmp(&want[i], &got[i], sizeof(float)), 0) << i;
      }
    }
  });
}

}  // namespace
}  // namespace frugal::kernels
