#include "nn/rope.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace frugal {
namespace {

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// Llama 3.1 (llama-models, llama3/model.py): long wavelengths are slowed, short ones kept, a ramp between.
void scale_llama3(std::vector<double>& inverse, const RopeScaling& s, int64_t max_positions) {
  const auto original = static_cast<double>(s.original_max_position_embeddings.value_or(max_positions));
  for (double& f : inverse) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength > original / s.low_freq_factor) {
      f /= s.factor;
    } else if (wavelength >= original / s.high_freq_factor) {
      const double smooth =
          (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      f = (1 - smooth) * f / s.factor + smooth * f;
    }
  }
}

// YaRN §3.2: dimensions that turn more than beta_fast times within the original context are kept, those below
// beta_slow are interpolated.
void scale_yarn(std::vector<double>& inverse, const RopeScaling& s, double theta, int64_t max_positions) {
  const auto dim = static_cast<double>(2 * inverse.size());
  const auto original = static_cast<double>(s.original_max_position_embeddings.value_or(max_positions));
  const auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = correction(s.beta_fast), high = correction(s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;  // as HF, against a division by zero
  for (size_t i = 0; i < inverse.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = inverse[i] / s.factor * ramp + inverse[i] * (1 - ramp);
  }
}

// Divisors as listed (LongRoPE, Ding et al. 2024; GGUF's rope_freqs): one list whatever the length.
void scale_longrope(RopeFrequencies& out, const RopeScaling& s) {
  if (s.long_factor.size() != out.inverse.size() || s.short_factor != s.long_factor) {
    fail_usage("rope_scaling: longrope with {} and {} factors; expected {} in both lists, and the same",
               s.short_factor.size(), s.long_factor.size(), out.inverse.size());
  }
  if (s.attention_factor.value_or(1) != 1) fail_usage("rope_scaling: longrope wants attention_factor 1");
  for (size_t i = 0; i < out.inverse.size(); ++i) {
    if (!(s.long_factor[i] > 0)) fail_usage("rope_scaling: a longrope factor is {}", s.long_factor[i]);
    out.inverse[i] /= s.long_factor[i];
  }
}

double yarn_magnitude(const RopeScaling& s) {
  if (s.attention_factor) return *s.attention_factor;
  if (s.mscale && s.mscale_all_dim && *s.mscale != 0 && *s.mscale_all_dim != 0) {
    return yarn_mscale(s.factor, *s.mscale) / yarn_mscale(s.factor, *s.mscale_all_dim);
  }
  return yarn_mscale(s.factor, 1);
}

}  // namespace

void RopeScaling::visit(FieldVisitor& v) {
  v.field("rope_type", rope_type, "default, linear, llama3, longrope or yarn");
  v.field("type", type, "older name of rope_type");
  v.field("rope_theta", rope_theta, "base of the frequencies");
  v.field("factor", factor, "context extension factor");
  v.field("original_max_position_embeddings", original_max_position_embeddings, "context before extension");
  v.field("low_freq_factor", low_freq_factor, "llama3");
  v.field("high_freq_factor", high_freq_factor, "llama3");
  v.field("beta_fast", beta_fast, "yarn");
  v.field("beta_slow", beta_slow, "yarn");
  v.field("mscale", mscale, "yarn");
  v.field("mscale_all_dim", mscale_all_dim, "yarn");
  v.field("attention_factor", attention_factor, "yarn");
  v.field("truncate", truncate, "yarn: round the ramp's ends");
  v.field("short_factor", short_factor, "longrope");
  v.field("long_factor", long_factor, "longrope");
}

RopeFrequencies rope_frequencies(int64_t dim, double theta, const std::optional<RopeScaling>& scaling,
                                 int64_t max_positions) {
  constexpr int64_t kWidest = 1 << 16;
  if (dim <= 0 || dim % 2 != 0 || dim > kWidest)
    fail_usage("the rotated width of a head is {}; expected an even number from 2 to {}", dim, kWidest);
  if (!(theta > 1)) fail_usage("rope_theta = {}; expected a number above 1", theta);
  RopeFrequencies out;
  for (int64_t i = 0; i < dim / 2; ++i) {
    out.inverse.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim)));
  }
  const std::string kind = scaling ? scaling->kind() : "";
  if (kind.empty() || kind == "default") return out;
  if (!(scaling->factor > 0))
    fail_usage("rope_scaling.factor = {}; expected a positive number", scaling->factor);
  if (kind == "llama3") {
    scale_llama3(out.inverse, *scaling, max_positions);
  } else if (kind == "yarn") {
    scale_yarn(out.inverse, *scaling, theta, max_positions);
    out.magnitude = yarn_magnitude(*scaling);
  } else if (kind == "linear") {
    for (double& f : out.inverse) f /= scaling->factor;
  } else if (kind == "longrope") {
    scale_longrope(out, *scaling);
  } else {
    fail_usage("rope_scaling: unknown rope_type '{}'; known: default, linear, llama3, longrope, yarn", kind);
  }
  return out;
}

double yarn_softmax_factor(const std::optional<RopeScaling>& scaling) {
  if (!scaling || scaling->kind() != "yarn" || scaling->mscale_all_dim.value_or(0) == 0) return 1;
  const double m = yarn_mscale(scaling->factor, *scaling->mscale_all_dim);
  return m * m;
}

Tensor RopeTable::table(const Context& ctx, int64_t positions) {
  if (table_ && table_.dim(0) >= positions) return table_;
  const auto wanted =
      static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(positions, 256))));
  const auto half = static_cast<int64_t>(frequencies_.inverse.size());
  Tensor table = Tensor::empty(ctx, {wanted, half, 2});
  if (ctx.dry_run()) return table;
  float* out = table.f32();
  for (int64_t p = 0; p < wanted; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      // Frequencies and angles are f32 in every reference implementation; rounding them differently shows far
      // out.
      const float angle =
          static_cast<float>(p) * static_cast<float>(frequencies_.inverse[static_cast<size_t>(i)]);
      *out++ = static_cast<float>(std::cos(static_cast<double>(angle)) * frequencies_.magnitude);
      *out++ = static_cast<float>(std::sin(static_cast<double>(angle)) * frequencies_.magnitude);
    }
  }
  table_ = table;
  return table;
}

}  // namespace frugal
