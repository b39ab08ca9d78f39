// Fitting goes in three steps: the best scale (and minimum) of every sub-block, the f16 that represents them
// best, then rounds of choosing every sub-block's integers by the error they lead to and solving for the f16
// again.
#include "tensor/formats/k_block.h"

#include <algorithm>
#include <cmath>

#include "tensor/formats/half.h"

namespace frugal::formats {
namespace {

constexpr int kRounds = 2;

float sum(const float* w, int n) {
  float total = 0;
  for (int i = 0; i < n; ++i) total += w[i];
  return total;
}

// The f16 whose multiples by the grid are nearest to x.
float half_scale(const float* x, const float* w, int n, Grid grid) {
  return round_to_half(x, w, n, grid, {fit_scale(x, w, n, grid), 0}).scale;
}

int nearest_step(float x, float unit, Grid grid) {
  if (unit == 0) return std::clamp(0, grid.low, grid.high);
  return static_cast<int>(
      std::nearbyint(std::clamp(x / unit, static_cast<float>(grid.low), static_cast<float>(grid.high))));
}

// Beyond what any layout holds, and small enough for sums of squares.
std::array<float, kSuperBlock> bounded(const float* x) {
  std::array<float, kSuperBlock> out;
  for (size_t i = 0; i < kSuperBlock; ++i) out[i] = std::clamp(x[i], -1e9f, 1e9f);
  return out;
}

float as_half(float v) {
  return half_to_float(float_to_half(std::clamp(v, -65504.0f, 65504.0f)));
}

// --- with minima

struct AffineTargets {
  std::array<float, 16> scale{}, minimum{};  // what each sub-block would like
};

// Chooses the integers for block.d and block.dmin; returns the error.
float choose(const float* x, const float* w, const AffineLayout& layout, const AffineTargets& targets,
             AffineBlock& block) {
  const Grid steps{0, layout.scale_high}, grid{0, layout.high};
  float total = 0;
  for (int b = 0; b * layout.sub_block < kSuperBlock; ++b) {
    const auto j = static_cast<size_t>(b);
    const float *xb = x + b * layout.sub_block, *wb = w + b * layout.sub_block;
    const int scale = nearest_step(targets.scale[j], block.d, steps);
    const int minimum = nearest_step(targets.minimum[j], block.dmin, steps);
    float least = grid_error(xb, wb, layout.sub_block, grid, 0, 0);  // all zero
    block.scale[j] = block.minimum[j] = 0;
    for (int s = std::max(0, scale - 1); s <= std::min(layout.scale_high, scale + 1); ++s) {
      for (int m = std::max(0, minimum - 1); m <= std::min(layout.scale_high, minimum + 1); ++m) {
        const float error = grid_error(xb, wb, layout.sub_block, grid, block.d * static_cast<float>(s),
                                       -(block.dmin * static_cast<float>(m)));
        if (error < least) {
          least = error;
          block.scale[j] = static_cast<uint8_t>(s);
          block.minimum[j] = static_cast<uint8_t>(m);
        }
      }
    }
    to_grid(xb, layout.sub_block, grid, block.d * block.scale[j], -(block.dmin * block.minimum[j]),
            block.q.data() + b * layout.sub_block);
    total += least;
  }
  return total;
}

// The best d and dmin for the integers chosen: least squares in two unknowns.
void solve(const float* x, const float* w, const AffineLayout& layout, AffineBlock& block) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
  for (size_t i = 0; i < kSuperBlock; ++i) {
    const size_t j = i / static_cast<size_t>(layout.sub_block);
    const double a = block.scale[j] * block.q[i], b = -block.minimum[j], weight = w[i];
    aa += weight * a * a, ab += weight * a * b, bb += weight * b * b;
    ax += weight * a * x[i], bx += weight * b * x[i];
  }
  const double determinant = aa * bb - ab * ab;
  if (!(determinant > 1e-9 * aa * bb)) {
    if (aa > 0) block.d = as_half(static_cast<float>((ax - ab * block.dmin) / aa));
    return;
  }
  block.d = as_half(static_cast<float>((bb * ax - ab * bx) / determinant));
  block.dmin = as_half(static_cast<float>((aa * bx - ab * ax) / determinant));
}

// --- without

float choose(const float* x, const float* w, const ScaledLayout& layout, const std::array<float, 16>& targets,
             ScaledBlock& block) {
  constexpr int kSub = 16;
  float total = 0;
  for (size_t j = 0; j < 16; ++j) {
    const float *xb = x + kSub * j, *wb = w + kSub * j;
    const int scale = nearest_step(targets[j], block.d, layout.scales);
    float least = grid_error(xb, wb, kSub, layout.values, 0, 0);  // all zero
    block.scale[j] = 0;
    for (int s = std::max(layout.scales.low, scale - 1); s <= std::min(layout.scales.high, scale + 1); ++s) {
      const float error = grid_error(xb, wb, kSub, layout.values, block.d * static_cast<float>(s), 0);
      if (error < least) {
        least = error;
        block.scale[j] = static_cast<int8_t>(s);
      }
    }
    to_grid(xb, kSub, layout.values, block.d * block.scale[j], 0, block.q.data() + kSub * j);
    total += least;
  }
  return total;
}

void solve(const float* x, const float* w, const ScaledLayout& layout, ScaledBlock& block) {
  double aa = 0, ax = 0;
  for (size_t i = 0; i < kSuperBlock; ++i) {
    const double a = block.scale[i / 16] * (block.q[i] + layout.values.low);
    aa += w[i] * a * a;
    ax += w[i] * a * x[i];
  }
  if (aa > 0) block.d = as_half(static_cast<float>(ax / aa));
}

// Alternates choosing and solving while the error falls.
template <class Layout, class Targets, class Block>
Block refined(const float* x, const float* w, const Layout& layout, const Targets& targets, Block start) {
  Block best = start;
  float least = choose(x, w, layout, targets, best);
  for (int round = 0; round < kRounds; ++round) {
    Block next = best;
    solve(x, w, layout, next);
    const float error = choose(x, w, layout, targets, next);
    if (!(error < least)) break;
    least = error;
    best = next;
  }
  return best;
}

}  // namespace

AffineBlock fit_affine_block(const float* values, const float* w, const AffineLayout& layout) {
  const std::array<float, kSuperBlock> copy = bounded(values);
  const float* x = copy.data();
  const int count = kSuperBlock / layout.sub_block;
  AffineTargets targets;
  std::array<float, 16> weight{};
  for (int b = 0; b < count; ++b) {
    const auto j = static_cast<size_t>(b);
    const float *xb = x + b * layout.sub_block, *wb = w + b * layout.sub_block;
    const Affine fit = fit_affine(xb, wb, layout.sub_block, layout.high, /*negative_offset=*/true);
    targets.scale[j] = fit.scale;
    targets.minimum[j] = -fit.offset;
    weight[j] = sum(wb, layout.sub_block);
  }
  const Grid steps{0, layout.scale_high};
  AffineBlock start;
  start.d = half_scale(targets.scale.data(), weight.data(), count, steps);
  start.dmin = half_scale(targets.minimum.data(), weight.data(), count, steps);
  return refined(x, w, layout, targets, start);
}

ScaledBlock fit_scaled_block(const float* values, const float* w, const ScaledLayout& layout) {
  const std::array<float, kSuperBlock> copy = bounded(values);
  const float* x = copy.data();
  std::array<float, 16> targets{}, spread{};
  for (size_t j = 0; j < 16; ++j) {
    targets[j] = fit_scale(x + 16 * j, w + 16 * j, 16, layout.values, &spread[j]);
  }
  ScaledBlock start;
  start.d = half_scale(targets.data(), spread.data(), 16, layout.scales);
  return refined(x, w, layout, targets, start);
}

void pack_six_bits(const uint8_t* scale, const uint8_t* minimum, std::byte* to) {
  for (int j = 0; j < 4; ++j) {
    to[j] = std::byte{static_cast<uint8_t>(scale[j] | (scale[j + 4] >> 4) << 6)};
    to[j + 4] = std::byte{static_cast<uint8_t>(minimum[j] | (minimum[j + 4] >> 4) << 6)};
    to[j + 8] = std::byte{static_cast<uint8_t>((scale[j + 4] & 15) | (minimum[j + 4] & 15) << 4)};
  }
}

void unpack_six_bits(const std::byte* from, uint8_t* scale, uint8_t* minimum) {
  const auto at = [&](int i) { return std::to_integer<unsigned>(from[i]); };
  for (int j = 0; j < 4; ++j) {
    scale[j] = static_cast<uint8_t>(at(j) & 63);
    minimum[j] = static_cast<uint8_t>(at(j + 4) & 63);
    scale[j + 4] = static_cast<uint8_t>((at(j + 8) & 15) | (at(j) >> 6) << 4);
    minimum[j + 4] = static_cast<uint8_t>((at(j + 8) >> 4) | (at(j + 4) >> 6) << 4);
  }
}

void pack_pairs(const uint8_t* q, std::byte* to) {
  for (int i = 0; i < kSuperBlock; ++i) {
    to[i / 128 * 32 + i % 32] |= std::byte{static_cast<uint8_t>((q[i] & 3) << (i / 32 % 4 * 2))};
  }
}

void pack_nibble_rows(const uint8_t* q, std::byte* to) {
  for (int c = 0; c < kSuperBlock; c += 64) {
    for (int l = 0; l < 32; ++l) {
      to[c / 2 + l] = std::byte{static_cast<uint8_t>((q[c + l] & 15) | (q[c + 32 + l] & 15) << 4)};
    }
  }
}

}  // namespace frugal::formats
