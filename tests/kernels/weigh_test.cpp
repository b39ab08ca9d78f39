#include "kernels/weigh.h"

#include "core/error.h"
#include "kernels/attention_case.h"
#include "kernels/for_each_table.h"

namespace frugal::kernels {
namespace {

// q4_0 with a scale of 1/16 and the values it stands for.
std::vector<char> nibble_blocks(const Floats& x, Floats& decoded) {
  std::vector<char> out;
  for (size_t i = 0; i < x.size(); i += kQ8Values) {
    out.push_back(0), out.push_back(0x2c);
    for (size_t j = 0; j < 16; ++j) {
      const auto nibble = [&](float v) {
        return static_cast<int>(std::clamp(std::lround(v * 16) + 8, 0L, 15L));
      };
      out.push_back(static_cast<char>(nibble(x[i + j]) | nibble(x[i + j + 16]) << 4));
    }
    for (size_t j = 0; j < kQ8Values; ++j) {
      const auto byte = static_cast<uint8_t>(out[out.size() - 16 + j % 16]);
      decoded.push_back(static_cast<float>((j < 16 ? byte & 15 : byte >> 4) - 8) / 16);
    }
  }
  return out;
}

struct Case {
  int64_t rows, in, out;
};

Floats weighed(ThreadPool& pool, const Table& table, KvType type, const Case& c, const Floats& x,
               const void* w, int64_t w_bytes) {
  Floats y(index_of(c.rows * (c.out + 1)), -7.0f);
  const WeighRows problem{type, c.rows, c.in, c.out, x.data(), c.in + 2, w, w_bytes, y.data(), c.out + 1};
  weigh_rows(pool, table, {&problem, 1});
  for (int64_t r = 0; r < c.rows; ++r) {
    EXPECT_EQ(y[index_of(r * (c.out + 1) + c.out)], -7.0f) << "written beyond a row";
    y[index_of(r * (c.out + 1) + c.out)] = 0;
  }
  return y;
}

TEST(WeighRows, MatchesTheFormulaAndEveryRowAlone) {
  for (const Case c : {Case{1, 1, 1}, Case{1, 128, 512}, Case{7, 19, 77}, Case{5, 33, 160}, Case{3, 0, 9}}) {
    const Floats x = random_floats(c.rows * (c.in + 2), 1), w = random_floats(c.in * c.out, 2);
    Doubles want(index_of(c.rows * (c.out + 1)));
    for (int64_t r = 0; r < c.rows; ++r) {
      for (int64_t n = 0; n < c.in; ++n) {
        for (int64_t o = 0; o < c.out; ++o) {
          want[index_of(r * (c.out + 1) + o)] +=
              double{x[index_of(r * (c.in + 2) + n)]} * double{w[index_of(n * c.out + o)]};
        }
      }
    }
    for_each_table([&](const Table& table) {
      ThreadPool one(1), three(3);
      const Floats got = weighed(one, table, KvType::f32, c, x, w.data(), 4 * c.out);
      expect_near(got, want, 1e-5, "y");
      EXPECT_TRUE(same_bits(got, weighed(three, table, KvType::f32, c, x, w.data(), 4 * c.out)));
      for (int64_t r = 0; r < c.rows; ++r) {
        const Floats own(x.begin() + r * (c.in + 2), x.begin() + (r + 1) * (c.in + 2));
        const Floats alone = weighed(one, table, KvType::f32, {1, c.in, c.out}, own, w.data(), 4 * c.out);
        EXPECT_TRUE(
            same_bits(alone, Floats(got.begin() + r * (c.out + 1), got.begin() + (r + 1) * (c.out + 1))));
      }
    });
  }
}

TEST(WeighRows, DecodesBlocksExactly) {
  for (const Case c : {Case{1, 128, 512}, Case{6, 20, 160}}) {
    const Floats x = random_floats(c.rows * (c.in + 2), 1), w = random_floats(c.in * c.out, 2);
    Floats nibbles;
    const std::vector<char> q4 = nibble_blocks(w, nibbles), q8 = to_blocks(w);
    const Floats bytes = from_blocks(q8);
    for_each_table([&](const Table& table) {
      ThreadPool pool(2);
      const auto f32 = [&](const Floats& values) {
        return weighed(pool, table, KvType::f32, c, x, values.data(), 4 * c.out);
      };
      EXPECT_TRUE(
          same_bits(weighed(pool, table, KvType::q4_0, c, x, q4.data(), c.out / 32 * 18), f32(nibbles)));
      EXPECT_TRUE(
          same_bits(weighed(pool, table, KvType::q8_0, c, x, q8.data(), c.out / 32 * 34), f32(bytes)));
    });
  }
}

TEST(WeighRows, BrokenContractsAreRefused) {
  ThreadPool pool(1);
  const Floats x(64), w(4096);
  EXPECT_THROW(weighed(pool, best(), KvType::q4_0, {1, 4, 33}, x, w.data(), 18), std::logic_error);
}

}  // namespace
}  // namespace frugal::kernels
