// Every number format against the reference implementations (tools/make_format_golden.py) and its own
// promises.
#include "tensor/format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"
#include "io/safetensors.h"

namespace frugal {
namespace {

const fs::path kGolden = fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/formats";

std::vector<float> floats(const SafetensorsEntry* entry) {
  std::vector<float> out(entry->data.size() / 4);
  std::memcpy(out.data(), entry->data.data(), entry->data.size());
  return out;
}

std::vector<std::byte> encoded(const Format& format, const std::vector<float>& values,
                               const float* importance = nullptr) {
  const auto n = static_cast<int64_t>(values.size());
  std::vector<std::byte> bytes(static_cast<size_t>(format.bytes(n)));
  format.encode(values.data(), bytes.data(), n, importance);
  return bytes;
}

std::vector<float> stored(const Format& format, const std::vector<float>& values,
                          const float* importance = nullptr) {
  std::vector<float> out(values.size());
  format.decode(encoded(format, values, importance).data(), out.data(), static_cast<int64_t>(out.size()));
  return out;
}

double error(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& w = {}) {
  double sum = 0, total = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double weight = w.empty() ? 1 : w[i], difference = double{a[i]} - b[i];
    sum += weight * difference * difference;
    total += weight;
  }
  return std::sqrt(sum / total);
}

std::vector<float> normal_row(size_t n, double deviation, uint64_t seed = 1) {
  Rng rng(seed);
  std::vector<float> row(n);
  for (float& v : row) v = static_cast<float>(rng.normal() * deviation);
  return row;
}

TEST(Formats, NamesAndTypesFindThem) {
  for (const Format* format : all_formats()) {
    EXPECT_EQ(&find_format(format->name), format);
    if (!format->safetensors.empty()) {
      EXPECT_EQ(find_safetensors_format(format->safetensors), format);
    }
    if (format->ggml >= 0) {
      EXPECT_EQ(find_ggml_format(static_cast<uint32_t>(format->ggml)), format);
    }
  }
  EXPECT_THROW(find_format("q9_9"), UsageError);
  EXPECT_EQ(find_safetensors_format(""), nullptr);
  EXPECT_EQ(find_ggml_format(4), nullptr);           // Q4_2, removed long ago
  EXPECT_EQ(find_ggml_format(0xffffffff), nullptr);  // not the -1 of formats GGUF lacks
}

TEST(Formats, SizesAreThoseOfGgml) {
  const auto bits = [](std::string_view name) {
    const Format& format = find_format(name);
    return 8.0 * static_cast<double>(format.block_bytes) / static_cast<double>(format.block);
  };
  EXPECT_EQ(bits("q8_0"), 8.5);
  EXPECT_EQ(bits("q4_0"), 4.5);
  EXPECT_EQ(bits("q4_1"), 5.0);
  EXPECT_EQ(bits("q5_0"), 5.5);
  EXPECT_EQ(bits("q5_1"), 6.0);
  EXPECT_EQ(bits("mxfp4"), 4.25);
  EXPECT_EQ(bits("iq4_nl"), 4.5);
  EXPECT_EQ(bits("q2_k"), 2.625);
  EXPECT_EQ(bits("q3_k"), 3.4375);
  EXPECT_EQ(bits("q4_k"), 4.5);
  EXPECT_EQ(bits("q5_k"), 5.5);
  EXPECT_EQ(bits("q6_k"), 6.5625);
  EXPECT_EQ(bits("f8_e4m3"), 8.0);
}

TEST(Formats, RowsThatDoNotFitTakeTheSubstitute) {
  EXPECT_EQ(&format_for_rows(formats::q4_k, 512), &formats::q4_k);
  EXPECT_EQ(&format_for_rows(formats::q4_k, 576), &formats::q5_0);  // SmolLM2
  EXPECT_EQ(&format_for_rows(formats::q6_k, 576), &formats::q8_0);
  EXPECT_EQ(&format_for_rows(formats::q2_k, 40), &formats::f16);
}

TEST(Formats, DecodeAsTheReference) {
  const SafetensorsFile golden(kGolden / "decode.safetensors");
  for (const Format* format : all_formats()) {
    const std::string name(format->name);
    const auto *bytes = golden.find(name + ".bytes"), *wanted = golden.find(name + ".values");
    ASSERT_NE(bytes, nullptr) << name;
    const std::vector<float> expected = floats(wanted);
    const auto n = static_cast<int64_t>(expected.size());
    ASSERT_EQ(format->bytes(n), static_cast<int64_t>(bytes->data.size())) << name;
    std::vector<float> found(expected.size());
    format->decode(bytes->data.data(), found.data(), n);
    for (size_t i = 0; i < found.size(); ++i) {
      if (std::isnan(expected[i])) {
        ASSERT_TRUE(std::isnan(found[i])) << name << " " << i;
      } else {
        ASSERT_EQ(found[i], expected[i]) << name << " " << i;
      }
    }
  }
}

TEST(Formats, EncodeAtLeastAsWellAsTheReference) {
  const SafetensorsFile rows(kGolden / "rows.safetensors");
  const Json reference = read_json_file(kGolden / "reference_errors.json");
  const std::vector<float> importance = floats(rows.find("importance"));
  int compared = 0;
  for (const auto& [name, per_row] : reference.items()) {
    const Format& format = find_format(name);
    for (const auto& [row_name, wanted] : per_row.items()) {
      const std::vector<float> row = floats(rows.find(row_name));
      const double plain = error(row, stored(format, row));
      const double weighted = error(row, stored(format, row, importance.data()), importance);
      EXPECT_LE(plain, wanted["plain"].get<double>() * 1.000001) << name << " " << row_name;
      EXPECT_LE(weighted, wanted["weighted"].get<double>() * 1.000001) << name << " " << row_name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 12 * 4);
}

// The bounds of llama.cpp's test-quantize-fns, on its row and in its measure: root of the sum over n.
TEST(Formats, ErrorBoundsOnTheSyntheticRow) {
  constexpr size_t kCount = 4096;
  std::vector<float> row(kCount);
  for (size_t i = 0; i < kCount; ++i) row[i] = 0.1f + 2 * std::cos(static_cast<float>(i));
  for (const Format* format : all_formats()) {
    const double bound = format == &formats::q2_k ? 0.0075 : format == &formats::q3_k ? 0.004 : 0.002;
    EXPECT_LE(error(row, stored(*format, row)) / std::sqrt(double{kCount}), bound) << format->name;
  }
}

TEST(Formats, EncodingWhatWasStoredChangesLittle) {
  for (const Format* format : all_formats()) {
    for (const uint64_t seed : {1u, 2u, 3u}) {
      const std::vector<float> row = normal_row(2048, 0.02, seed), first = stored(*format, row);
      if (format->block <= 32) {
        EXPECT_EQ(stored(*format, first), first) << format->name;
      } else {  // scales of scales: another pair may come out, but not another error
        EXPECT_LE(error(first, stored(*format, first)), 0.1 * error(row, first)) << format->name;
      }
      std::vector<float> again = first;
      for (int i = 0; i < 8; ++i) again = stored(*format, again);
      EXPECT_LE(error(row, again), 1.02 * error(row, first)) << format->name;
    }
  }
}

TEST(Formats, ZerosConstantsAndSingleValues) {
  for (const Format* format : all_formats()) {
    const auto n = static_cast<size_t>(std::max<int64_t>(format->block, 32));
    std::vector<float> row(n, 0.0f);
    EXPECT_EQ(stored(*format, row), row) << format->name;
    row[n - 3] = -0.75f;
    EXPECT_NEAR(stored(*format, row)[n - 3], -0.75f, 0.01) << format->name;
    // IQ4_NL has no zero; its nearest is 1/113 of the largest.
    EXPECT_NEAR(stored(*format, row)[0], 0.0f, format == &formats::iq4_nl ? 0.007 : 4e-4) << format->name;
    for (const float constant : {1.0f, -1.0f}) {
      const std::vector<float> flat(n, constant);
      EXPECT_LE(error(stored(*format, flat), flat), 0.01) << format->name << " " << constant;
    }
  }
}

TEST(Formats, ExtremeValuesKeepTheirSignAndNothingTraps) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Format* format : all_formats()) {
    const auto n = static_cast<size_t>(std::max<int64_t>(format->block, 32));
    for (const float large : {1e5f, 1e20f, 3e38f}) {
      std::vector<float> row = normal_row(n, 0.02);
      row[5] = large;
      row[6] = -large;
      const std::vector<float> out = stored(*format, row);
      EXPECT_GT(out[5], 100.0f) << format->name << " " << large;
      EXPECT_LT(out[6], -100.0f) << format->name << " " << large;
      if (format->block > 1) {
        for (const float v : out) EXPECT_TRUE(std::isfinite(v)) << format->name << " " << large;
      }
    }
    for (const float tiny : {1e-7f, 1e-12f, 1e-30f, 1e-40f}) {
      const std::vector<float> row = normal_row(n, tiny), out = stored(*format, row);
      EXPECT_LE(error(row, out), error(row, std::vector<float>(n))) << format->name << " " << tiny;
    }
    for (const float odd : {inf, -inf, std::nanf("")}) {
      for (const size_t at : {size_t{0}, n - 1}) {
        std::vector<float> row = normal_row(n, 0.02);
        row[at] = odd;
        (void)stored(*format, row);
        (void)stored(*format, std::vector<float>(n, odd));
      }
    }
  }
}

TEST(Formats, ImportanceMovesTheErrorWhereItCountsLess) {
  for (const Format* format : all_formats()) {
    if (format->block == 1 || format == &formats::q8_0) continue;  // no choice to make
    const std::vector<float> row = normal_row(4096, 0.02);
    std::vector<float> importance(row.size());
    for (size_t i = 0; i < row.size(); ++i) importance[i] = i % 8 == 0 ? 100.0f : 0.01f;
    EXPECT_LT(error(row, stored(*format, row, importance.data()), importance),
              0.96 * error(row, stored(*format, row), importance))
        << format->name;
    // Nothing counts: as if all did.
    EXPECT_EQ(encoded(*format, row, std::vector<float>(row.size()).data()), encoded(*format, row));
    EXPECT_EQ(encoded(*format, row, std::vector<float>(row.size(), 1.0f).data()), encoded(*format, row));
  }
}

// Formats without blocks: no encoder can be more accurate than one that always takes the nearest code.
TEST(Formats, PlainFormatsTakeTheNearestCode) {
  for (const Format* format : {&formats::bf16, &formats::f16, &formats::f8_e4m3}) {
    const int64_t bytes = format->block_bytes;
    std::vector<float> codes;
    for (uint32_t code = 0; code < (1u << (8 * bytes)); ++code) {
      float x;
      format->decode(reinterpret_cast<const std::byte*>(&code), &x, 1);  // little-endian
      if (std::isfinite(x)) codes.push_back(x);
    }
    std::ranges::sort(codes);
    std::vector<float> values = normal_row(4096, 0.02);
    for (const double scale : {1e-4, 1.0, 100.0})
      std::ranges::copy(normal_row(1024, scale), std::back_inserter(values));
    const std::vector<float> out = stored(*format, values);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto above = std::ranges::lower_bound(codes, values[i]);
      double nearest = std::numeric_limits<double>::infinity();
      if (above != codes.end()) nearest = std::min(nearest, double{*above} - values[i]);
      if (above != codes.begin()) nearest = std::min(nearest, double{values[i]} - *(above - 1));
      ASSERT_EQ(std::fabs(double{out[i]} - values[i]), nearest) << format->name << " " << values[i];
    }
  }
  const std::vector<float> row = normal_row(4096, 0.02);
  EXPECT_EQ(stored(formats::f32, row), row);
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

TEST(Formats, Fp8IsAsTorchRoundsIt) {
  const auto through = [](float x) { return stored(formats::f8_e4m3, {x})[0]; };
  EXPECT_EQ(through(448), 448.0f);
  EXPECT_EQ(through(1e9f), 448.0f);  // saturates
  EXPECT_EQ(through(-1e9f), -448.0f);
  EXPECT_EQ(through(432), 448.0f);       // halfway, to even, upwards
  EXPECT_EQ(through(400), 384.0f);       // halfway, to even
  EXPECT_EQ(through(1.0625f), 1.0f);     // halfway, to even
  EXPECT_EQ(through(1.1875f), 1.25f);    // halfway, to even, upwards
  EXPECT_EQ(through(0x1p-9f), 0x1p-9f);  // the smallest
  EXPECT_EQ(through(0x1p-10f), 0.0f);
  EXPECT_EQ(through(0x1.8p-9f), 0x1p-8f);
  EXPECT_EQ(through(0x1.fep-7f), 0x1p-6f);  // up into the normal numbers
  EXPECT_TRUE(std::isnan(through(std::nanf(""))));
  for (int code = 0; code < 256; ++code) {  // every code survives
    const auto byte = static_cast<std::byte>(code);
    float x;
    formats::f8_e4m3.decode(&byte, &x, 1);
    if (std::isnan(x)) continue;
    std::byte back;
    formats::f8_e4m3.encode(&x, &back, 1);
    ASSERT_EQ(back, byte);
  }
}

}  // namespace
}  // namespace frugal
