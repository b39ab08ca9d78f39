// Rotary tables of the published models against transformers' (tests/golden/rope.json).
#include "nn/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "kernels/dispatch.h"

namespace frugal {
namespace {

struct Published {
  double theta = 10000;
  int64_t max_position_embeddings = 0;
  std::optional<RopeScaling> scaling;
  void visit(FieldVisitor& v) {
    v.field("rope_theta", theta, "");
    v.field("max_position_embeddings", max_position_embeddings, "");
    v.field("rope_scaling", scaling, "");
  }
};

void expect_table(RopeTable& rope, const Context& ctx, const Json& golden) {
  const auto positions = golden["positions"].get<std::vector<int64_t>>();
  const Tensor table = rope.table(ctx, positions.back() + 1);
  const int64_t half = table.dim(1);
  for (size_t p = 0; p < positions.size(); ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const float* pair = table.f32() + (positions[p] * half + i) * 2;
      // One rounding of an f32 angle at position 163,839 is 0.008 rad.
      const double tolerance = 2e-6 + static_cast<double>(positions[p]) * 1.2e-7;
      const auto at = static_cast<size_t>(i);
      EXPECT_NEAR(pair[0], golden["cos"][p][at].get<double>(), tolerance) << positions[p] << " " << i;
      EXPECT_NEAR(pair[1], golden["sin"][p][at].get<double>(), tolerance) << positions[p] << " " << i;
    }
  }
}

TEST(Rope, PublishedModelsAgreeWithTransformers) {
  ThreadPool pool(1);
  const Context ctx{pool, kernels::best()};
  const Json all = read_json_file(fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/rope.json");
  int models = 0;
  for (const auto& [name, golden] : all.items()) {
    if (!golden.is_object() || !golden.contains("inv_freq")) continue;
    ++models;
    Published p;
    read_fields(p, golden["config"], name, UnknownKeys::ignore);
    const auto dim = golden["rope_dimensions"].get<int64_t>();
    const RopeFrequencies frequencies = rope_frequencies(dim, p.theta, p.scaling, p.max_position_embeddings);
    EXPECT_NEAR(frequencies.magnitude, golden["cos_sin_factor"].get<double>(), 1e-6) << name;
    for (size_t i = 0; i < frequencies.inverse.size(); ++i) {
      const double wanted = golden["inv_freq"][i].get<double>();
      EXPECT_NEAR(frequencies.inverse[i] / wanted, 1, 2e-6) << name << " " << i;
    }
    if (golden.contains("softmax_scale")) {
      EXPECT_NEAR(yarn_softmax_factor(p.scaling) / std::sqrt(192.0), golden["softmax_scale"].get<double>(),
                  1e-7);
    }
    RopeTable rope(frequencies);
    if (golden.contains("cos")) expect_table(rope, ctx, golden);
  }
  EXPECT_EQ(models, 4);
}

TEST(Rope, NonsenseIsRefused) {
  RopeScaling scaling;
  scaling.rope_type = "yarn";
  scaling.factor = 0;
  EXPECT_THROW(rope_frequencies(64, 10000, scaling, 4096), UsageError);
  EXPECT_THROW(rope_frequencies(63, 10000, std::nullopt, 4096), UsageError);
  EXPECT_THROW(rope_frequencies(64, 1, std::nullopt, 4096), UsageError);
}

}  // namespace
}  // namespace frugal
