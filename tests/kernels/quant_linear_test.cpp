// Products with block-quantised weights against Format::decode and plain sums in double.
#include "kernels/quant_linear.h"

#include <array>
#include <cmath>

#include "kernels/arrays.h"
#include "kernels/for_each_table.h"
#include "tensor/format.h"

namespace frugal::kernels {
namespace {

std::vector<const Format*> formats_with_kernels() {
  std::vector<const Format*> list;
  for (const Format* format : all_formats()) {
    if (format->blocks != Blocks::none) list.push_back(format);
  }
  return list;
}

// Random bytes, so that every code and scale appears, in blocks whose values are moderate.
std::vector<std::byte> random_blocks(const Format& format, int64_t values, Rng& rng) {
  std::vector<std::byte> bytes(index_of(format.bytes(values)));
  std::vector<float> decoded(index_of(format.block));
  for (int64_t b = 0; b < values / format.block; ++b) {
    std::byte* block = bytes.data() + b * format.block_bytes;
    float largest = 0;
    do {
      for (int64_t i = 0; i < format.block_bytes; ++i) block[i] = static_cast<std::byte>(rng.bits());
      format.decode(block, decoded.data(), format.block);
      largest = 0;
      for (const float v : decoded) largest = std::isfinite(v) ? std::max(largest, std::abs(v)) : INFINITY;
    } while (largest > 100 || largest < 0.01f);
  }
  return bytes;
}

// What activations are rounded to, written as plainly as it can be.
Floats rounded(const Floats& x, bool wide) {
  Floats y(x.size());
  const float most = wide ? 127.0f * 128 : 127.0f;
  for (size_t i = 0; i < x.size(); i += kQuantBlock) {
    float largest = 0;
    for (size_t j = 0; j < kQuantBlock; ++j) largest = std::max(largest, std::abs(x[i + j]));
    const float inverse = largest > 0 ? most / largest : 0;
    for (size_t j = 0; j < kQuantBlock; ++j) y[i + j] = largest / most * std::nearbyint(x[i + j] * inverse);
  }
  return y;
}

constexpr float kUntouched = 123.0f;

QuantizedRows quantize_one(ThreadPool& pool, const Table& table, const QuantizeRows& request,
                           std::vector<int32_t>& memory) {
  memory.resize(index_of(quantized_bytes(table, request) / 4));
  return quantize(pool, table, {&request, 1}, memory.data()).front();
}

struct Case {
  Case(const Format& f, int64_t rows_, int64_t in_, int64_t out_, Rng& rng)
      : format(f), rows(rows_), in(in_), out(out_), y_row(out_ + 3) {
    x = random_floats(rows * in, rng.bits());
    w = random_blocks(f, out * in, rng);
    y.assign(index_of(rows * y_row), kUntouched);
  }
  QuantLinear problem(const QuantizedRows& q) {
    return {.format = format.blocks,
            .w = w.data(),
            .w_row = format.bytes(in),
            .out = out,
            .x = &q,
            .y = y.data(),
            .y_row = y_row};
  }
  PanelForm form() const { return {.halves = needs_halves(format.blocks), .wide = wide}; }
  void run(ThreadPool& pool, const Table& table, PanelForm form) {
    std::vector<int32_t> memory;
    const QuantizedRows q =
        quantize_one(pool, table, {.rows = rows, .in = in, .x = x.data(), .form = form}, memory);
    const QuantLinear p = problem(q);
    quant_linear(pool, table, {&p, 1});
  }
  void run(ThreadPool& pool, const Table& table) { run(pool, table, form()); }
  void expect_right() const {
    const Floats xr = rounded(x, wide);
    Floats decoded(index_of(out * in));
    format.decode(w.data(), decoded.data(), out * in);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < out; ++o) {
        double sum = 0, size = 0;
        for (int64_t i = 0; i < in; ++i) {
          const double product =
              static_cast<double>(xr[index_of(r * in + i)]) * decoded[index_of(o * in + i)];
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(y[index_of(r * y_row + o)], sum, 2e-6 * size + 1e-6) << "row " << r << ", output " << o;
      }
      for (int64_t o = out; o < y_row; ++o) ASSERT_EQ(y[index_of(r * y_row + o)], kUntouched);
    }
  }

  const Format& format;
  int64_t rows, in, out, y_row;
  bool wide = false;
  Floats x, y;
  std::vector<std::byte> w;
};

// dequantize: the very bits of Format::decode.
TEST(QuantLinear, DecodesAsTheFormatDoes) {
  for (const Format* format : formats_with_kernels()) {
    SCOPED_TRACE(format->name);
    for_each_table([&](const Table& table) {
      Rng rng(11);
      for (const int64_t blocks : {1, 3, 15, 16, 17, 40}) {
        const int64_t values = blocks * format->block;
        const std::vector<std::byte> bytes = random_blocks(*format, values, rng);
        Floats want(index_of(values)), got(index_of(values + 1), kUntouched);
        format->decode(bytes.data(), want.data(), values);
        table.dequantize(format->blocks, values, bytes.data(), got.data());
        EXPECT_EQ(got.back(), kUntouched);
        got.pop_back();
        EXPECT_TRUE(same_bits(want, got)) << blocks;
      }
    });
  }
}

TEST(QuantLinear, EveryFormatOnOddSizes) {
  ThreadPool pool(2);
  for (const Format* format : formats_with_kernels()) {
    SCOPED_TRACE(format->name);
    for_each_table([&](const Table& table) {
      Rng rng(1);
      for (int64_t rows = 1; rows <= 11; ++rows) {
        const auto blocks = static_cast<int64_t>(1 + rng.below(5)),
                   out = static_cast<int64_t>(1 + rng.below(40));
        Case item(*format, rows, format->block * blocks, out, rng);
        item.run(pool, table);
        item.expect_right();
        item.wide = true;
        item.run(pool, table);
        item.expect_right();
      }
    });
  }
}

TEST(QuantLinear, InnerDimensionInPieces) {
  ThreadPool pool(2);
  for (const Format* format : formats_with_kernels()) {
    SCOPED_TRACE(format->name);
    for_each_table([&](const Table& table) {
      Rng rng(2);
      for (const int64_t in : {kQuantPiece, kQuantPiece + 256, 2 * kQuantPiece + 768}) {
        Case item(*format, 3, in, 19, rng);
        item.wide = in != kQuantPiece;
        item.run(pool, table);
        item.expect_right();
      }
    });
  }
}

// A row alone, in part of the outputs, on any number of threads, beside sums that its format does not need,
// with any fused instruction set: the same bits.
void expect_same_bits_however_it_is_cut(const Format& format, bool wide) {
  Rng rng(3);
  ThreadPool one(1), three(3);
  Case item(format, 70, 256 * 5, 90, rng);
  item.wide = wide;
  item.run(one, best());
  const Floats whole = item.y;
  item.run(three, best());
  EXPECT_TRUE(same_bits(whole, item.y));
  item.run(one, best(), {.halves = true, .wide = wide});
  EXPECT_TRUE(same_bits(whole, item.y));
  for (const Table* table : available()) {
    if (std::string_view(table->name) == "scalar") continue;  // multiplies and adds apart
    item.run(three, *table);
    EXPECT_TRUE(same_bits(whole, item.y)) << table->name;
  }
  Case part = item;
  part.rows = 1;
  for (const int64_t row : {0, 7, 8, 69}) {
    part.x.assign(item.x.begin() + row * item.in, item.x.begin() + (row + 1) * item.in);
    for (const auto& [begin, outs] : std::array<std::array<int64_t, 2>, 3>{{{0, 90}, {17, 1}, {16, 74}}}) {
      part.out = outs;
      part.w.assign(item.w.begin() + format.bytes(begin * item.in), item.w.end());
      part.run(three, best());
      const auto at = index_of(row * item.y_row + begin);
      EXPECT_EQ(std::memcmp(&whole[at], part.y.data(), index_of(outs) * sizeof(float)), 0);
    }
  }
}

TEST(QuantLinear, SameBitsHoweverItIsCut) {
  for (const Format* format : formats_with_kernels()) {
    for (const bool wide : {false, true}) {
      SCOPED_TRACE(std::string(format->name) + (wide ? ", wide" : ""));
      expect_same_bits_however_it_is_cut(*format, wide);
    }
  }
}

TEST(QuantLinear, SeveralProblemsAtOnce) {
  ThreadPool pool(3);
  Rng rng(4);
  std::vector<Case> items;
  for (const Format* format : formats_with_kernels()) items.emplace_back(*format, 5, 512, 33, rng);
  for (Case& item : items) item.x = items.front().x;
  std::vector<int32_t> memory;
  const QuantizedRows q = quantize_one(
      pool, best(), {.rows = 5, .in = 512, .x = items.front().x.data(), .form = {.halves = true}}, memory);
  std::vector<QuantLinear> problems;
  for (Case& item : items) problems.push_back(item.problem(q));
  quant_linear(pool, best(), problems);
  for (const Case& item : items) {
    SCOPED_TRACE(item.format.name);
    item.expect_right();
  }
  quant_linear(pool, best(), {});
}

// The largest codes and activations: products of pairs that 16 bits must hold.
TEST(QuantLinear, ExtremeValuesDoNotSaturate) {
  constexpr int64_t kIn = 256;
  ThreadPool pool(1);
  for (const Format* format : formats_with_kernels()) {
    SCOPED_TRACE(format->name);
    for_each_table([&](const Table& table) {
      for (const int byte : {0x00, 0x7f, 0x80, 0x81, 0xff}) {
        Rng rng(5);
        Case item(*format, 2, kIn, 17, rng);
        for (size_t b = 0; b < item.w.size(); b += index_of(format->block_bytes)) {
          std::vector<std::byte> block(index_of(format->block_bytes), std::byte{static_cast<uint8_t>(byte)});
          Floats decoded(index_of(format->block));
          // Scales stay those of the moderate random block where all bytes alike would not be numbers.
          for (size_t i = 0; i < block.size(); ++i) {
            const std::byte old = std::exchange(item.w[b + i], block[i]);
            format->decode(item.w.data() + b, decoded.data(), format->block);
            for (const float v : decoded) {
              if (!(std::abs(v) < 1e4f)) item.w[b + i] = old;
            }
          }
        }
        for (int64_t i = 0; i < kIn; ++i) {
          item.x[index_of(i)] = 1;
          item.x[index_of(kIn + i)] = i % 2 == 0 ? -3.0f : 3.0f;
        }
        for (const bool wide : {false, true}) {
          item.wide = wide;
          item.run(pool, table);
          item.expect_right();
        }
      }
    });
  }
}

// Q8_0 with scale 1: sums are whole numbers and must be exact.
TEST(QuantLinear, BytesOfMinus128AreExact) {
  ThreadPool pool(1);
  for_each_table([&](const Table& table) {
    Rng rng(6);
    Case item(formats::q8_0, 1, 64, 16, rng);
    for (size_t b = 0; b < item.w.size(); b += 34) {
      item.w[b] = std::byte{0x00};
      item.w[b + 1] = std::byte{0x3c};
      for (size_t i = 2; i < 34; ++i) item.w[b + i] = std::byte{0x80};
    }
    for (const float x : {127.0f, -127.0f}) {
      std::fill(item.x.begin(), item.x.end(), x);
      item.run(pool, table);
      for (int64_t o = 0; o < 16; ++o) EXPECT_EQ(item.y[index_of(o)], -128.0f * x * 64);
    }
  });
}

TEST(QuantLinear, RowsByIndex) {
  ThreadPool pool(2);
  for_each_table([&](const Table& table) {
    Rng rng(7);
    Case item(formats::q4_1, 40, 96, 21, rng);
    item.run(pool, table);
    const Floats all = item.y;
    std::vector<int32_t> index;
    for (int i = 0; i < 23; ++i) index.push_back(static_cast<int32_t>(rng.below(40)));
    std::vector<int32_t> memory;
    const QuantizedRows q =
        quantize_one(pool, table, {.rows = 23, .in = 96, .x = item.x.data(), .index = index.data()}, memory);
    const QuantLinear p = item.problem(q);
    quant_linear(pool, table, {&p, 1});
    for (int64_t i = 0; i < 23; ++i) {
      EXPECT_EQ(std::memcmp(&all[index_of(index[index_of(i)] * item.y_row)],
                            &item.y[index_of(i * item.y_row)], 21 * sizeof(float)),
                0);
    }
  });
}

TEST(QuantLinear, BrokenActivationsShowAndZerosAreZero) {
  ThreadPool pool(1);
  for_each_table([&](const Table& table) {
    for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
      Rng rng(8);
      Case item(formats::q4_0, 2, 64, 20, rng);
      item.x[37] = bad;
      item.run(pool, table);
      for (int64_t o = 0; o < 20; ++o) {
        EXPECT_FALSE(std::isfinite(item.y[index_of(o)])) << bad;
        EXPECT_TRUE(std::isfinite(item.y[index_of(item.y_row + o)]));
      }
    }
    for (const float tiny : {0.0f, -0.0f, 1e-40f}) {
      Rng rng(9);
      Case item(formats::q4_1, 1, 64, 20, rng);
      std::fill(item.x.begin(), item.x.end(), tiny);
      item.run(pool, table);
      for (int64_t o = 0; o < 20; ++o) EXPECT_EQ(item.y[index_of(o)], 0.0f);
    }
  });
}

TEST(QuantLinear, WrongArgumentsAreRefused) {
  ThreadPool pool(1);
  Rng rng(10);
  Case item(formats::q6_k, 2, 256, 4, rng);
  EXPECT_THROW(item.run(pool, best(), {}), std::logic_error);
  item.y_row = 3;
  EXPECT_THROW(item.run(pool, best(), {.halves = true}), std::logic_error);
  std::vector<int32_t> memory;
  EXPECT_THROW(quantize_one(pool, best(), {.rows = 1, .in = 33, .x = item.x.data()}, memory),
               std::logic_error);
}

}  // namespace
}  // namespace frugal::kernels
