#include "tensor/formats/fit.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/formats/half.h"

namespace frugal::formats {
namespace {

constexpr int kLanes = 8;
constexpr int kMaxBlock = 256;
constexpr float kLargestHalf = 65504;
// Scales below this store nothing that f16 could hold, and their inverses overflow.
constexpr float kTiny = 1e-30f;

// The nearest integer, ties to even, of |v| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
inline float nearest(float v) {
  constexpr float kMagic = 12582912.0f;
  return (v + kMagic) - kMagic;
}

inline float clamped(float v, float low, float high) {
  v = v > low ? v : low;  // NaN becomes `low`
  return v < high ? v : high;
}

struct Lanes {
  float v[kLanes] = {};
  float sum() const { return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])); }
};

struct Products {
  float xq, qq;  // sum w x q, sum w q^2
  // What the best scale for this rounding takes off sum w x^2.
  float gain() const { return qq > 0 ? xq * (xq / qq) : 0; }
};

Products products(const float* x, const float* w, int n, float inverse, float low, float high) {
  Lanes xq, qq;
  for (int i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float q = nearest(clamped(x[i + j] * inverse, low, high));
      const float wq = w[i + j] * q;
      xq.v[j] += wq * x[i + j];
      qq.v[j] += wq * q;
    }
  }
  return {xq.sum(), qq.sum()};
}

struct Moments {
  float w = 0, x = 0, q = 0, xq = 0, qq = 0;  // sums of w times these
};

Moments moments(const float* x, const float* w, int n, float high, float inverse, float offset) {
  Lanes sum_q, sum_xq, sum_qq;
  for (int i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float q = nearest(clamped((x[i + j] - offset) * inverse, 0, high));
      const float wq = w[i + j] * q;
      sum_q.v[j] += wq;
      sum_xq.v[j] += wq * x[i + j];
      sum_qq.v[j] += wq * q;
    }
  }
  return {.q = sum_q.sum(), .xq = sum_xq.sum(), .qq = sum_qq.sum()};
}

// The best line for a rounding, and what it takes off sum w x^2.
struct Line {
  Affine fit{0, 0};
  float gain = -1;
};

Line solve(const Moments& m, bool negative_offset) {
  Line line;
  const float determinant = m.w * m.qq - m.q * m.q;
  if (determinant > 1e-6f * m.w * m.qq) {
    line.fit = {(m.w * m.xq - m.q * m.x) / determinant, (m.qq * m.x - m.q * m.xq) / determinant};
  } else {  // one q for all: a constant
    line.fit = {0, m.w > 0 ? m.x / m.w : 0};
  }
  if (negative_offset && line.fit.offset > 0) line.fit = {m.qq > 0 ? m.xq / m.qq : 0, 0};
  line.gain = line.fit.scale * m.xq + line.fit.offset * m.x;
  return line;
}

// Larger values are stored as the largest anyway; smaller ones leave room for sums of squares.
struct Bounded {
  Bounded(const float* x, int n) {
    for (int i = 0; i < n; ++i) v[static_cast<size_t>(i)] = clamped(x[i], -1e9f, 1e9f);
  }
  std::array<float, kMaxBlock> v;
};

float largest_magnitude(const float* x, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

// How many steps the largest magnitude is tried as: small grids all whole numbers, so that what is stored
// already is found again, and for all a range around the grid's end, where clipping competes with rounding.
template <class F>
void for_each_step_count(float end, F&& f) {
  const float step = end <= 4 ? 0.125f : end <= 32 ? 0.5f : 1.0f;
  const float fine = std::floor(0.75f * end);
  for (float k = end <= 8 ? 1.0f : std::floor(0.5f * end); k < fine && end <= 16; k += 1) f(k);
  for (float k = fine; k <= end * 1.2f; k += step) f(k);
}

}  // namespace

const float* block_weights(const float* importance, int64_t at, int n) {
  static constexpr std::array<float, kMaxBlock> ones = [] {
    std::array<float, kMaxBlock> a{};
    for (float& v : a) v = 1;
    return a;
  }();
  if (importance == nullptr) return ones.data();
  for (int i = 0; i < n; ++i) {
    if (importance[at + i] > 0) return importance + at;
  }
  return ones.data();
}

float fit_scale(const float* values, const float* w, int n, Grid grid, float* spread) {
  const Bounded bounded(values, n);
  const float* x = bounded.v.data();
  const auto low = static_cast<float>(grid.low), high = static_cast<float>(grid.high);
  const float largest = largest_magnitude(x, n);
  if (spread != nullptr) *spread = 0;
  const float end = std::max(-low, high);
  if (!(largest > kTiny)) return 0;
  Products best{0, 0};
  const auto attempt = [&](float inverse) {
    const Products p = products(x, w, n, inverse, low, high);
    if (p.gain() > best.gain()) best = p;
  };
  for_each_step_count(end, [&](float k) {
    attempt(k / largest);
    if (-low > high) attempt(-k / largest);
  });
  for (int round = 0; round < 3 && best.xq != 0; ++round) {  // round with the solution, solve again
    const float before = best.gain();
    attempt(best.qq / best.xq);
    if (!(best.gain() > before)) break;
  }
  if (spread != nullptr) *spread = best.qq;
  return best.qq > 0 ? best.xq / best.qq : 0;
}

Affine fit_affine(const float* values, const float* w, int n, int high, bool negative_offset) {
  const Bounded bounded(values, n);
  const float* x = bounded.v.data();
  float least = HUGE_VALF, most = -HUGE_VALF;
  Moments fixed;
  for (int i = 0; i < n; ++i) {
    least = std::min(least, x[i]);
    most = std::max(most, x[i]);
    fixed.w += w[i];
    fixed.x += w[i] * x[i];
  }
  if (negative_offset) least = std::min(least, 0.0f);
  const auto end = static_cast<float>(high);
  if (!(most - least > kTiny)) return {0, least};
  Line best;
  const auto attempt = [&](float inverse, float offset) {
    Moments m = moments(x, w, n, end, inverse, offset);
    m.w = fixed.w;
    m.x = fixed.x;
    const Line line = solve(m, negative_offset);
    if (line.fit.scale >= 0 && line.gain > best.gain) best = line;
  };
  for_each_step_count(end, [&](float k) { attempt(k / (most - least), least); });
  for (int round = 0; round < 4 && best.fit.scale > kTiny; ++round) {
    const float before = best.gain;
    attempt(1 / best.fit.scale, best.fit.offset);
    if (!(best.gain > before)) break;
  }
  return best.fit;
}

float grid_error(const float* x, const float* w, int n, Grid grid, float scale, float offset) {
  const auto low = static_cast<float>(grid.low), high = static_cast<float>(grid.high);
  const float inverse = scale != 0 ? 1 / scale : 0;
  Lanes error;
  for (int i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float q = nearest(clamped((x[i + j] - offset) * inverse, low, high));
      const float difference = x[i + j] - (scale * q + offset);
      error.v[j] += w[i + j] * difference * difference;
    }
  }
  return error.sum();
}

void to_grid(const float* x, int n, Grid grid, float scale, float offset, uint8_t* q) {
  const auto low = static_cast<float>(grid.low), high = static_cast<float>(grid.high);
  const float inverse = scale != 0 ? 1 / scale : 0;
  for (int i = 0; i < n; ++i) {
    q[i] = static_cast<uint8_t>(nearest(clamped((x[i] - offset) * inverse, low, high)) - low);
  }
}

Affine round_to_half(const float* x, const float* w, int n, Grid grid, Affine fit) {
  const auto representable = [](float v) { return clamped(v, -kLargestHalf, kLargestHalf); };
  const float offset = half_to_float(float_to_half(representable(fit.offset)));
  const uint16_t half = float_to_half(representable(fit.scale));
  Affine best{half_to_float(half), offset};
  if (std::fabs(best.scale) >= 0x1p-14f) return best;  // normal: the neighbours are 0.1 % away
  float least = grid_error(x, w, n, grid, best.scale, offset);
  for (const int step : {-1, 1}) {
    const int magnitude = (half & 0x7fff) + step;
    if (magnitude < 0) continue;
    const auto other = static_cast<uint16_t>((half & 0x8000) | magnitude);
    const float scale = half_to_float(other), error = grid_error(x, w, n, grid, scale, offset);
    if (error < least) least = error, best.scale = scale;
  }
  return best;
}

void pack_nibbles(const uint8_t* q, std::byte* to) {
  for (int i = 0; i < 16; ++i) to[i] = std::byte{static_cast<uint8_t>(q[i] | q[i + 16] << 4)};
}

void pack_fifth_bits(const uint8_t* q, std::byte* to) {
  uint32_t fifth = 0;
  uint8_t low[32];
  for (int i = 0; i < 32; ++i) {
    fifth |= static_cast<uint32_t>(q[i] >> 4) << i;
    low[i] = q[i] & 15;
  }
  std::memcpy(to, &fifth, 4);
  pack_nibbles(low, to + 4);
}

void unpack_fifth_bits(const std::byte* from, int* q) {
  uint32_t fifth;
  std::memcpy(&fifth, from, 4);
  for (int i = 0; i < 16; ++i) {
    q[i] = low_nibble(from[4 + i]) | static_cast<int>((fifth >> i) & 1) << 4;
    q[i + 16] = high_nibble(from[4 + i]) | static_cast<int>((fifth >> (i + 16)) & 1) << 4;
  }
}

}  // namespace frugal::formats
