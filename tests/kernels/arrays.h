// Small helpers for kernel tests: random arrays and comparison with a tolerance relative to the array's size.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/rng.h"

namespace frugal::kernels {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

inline size_t index_of(int64_t i) {
  return static_cast<size_t>(i);
}

inline Floats random_floats(int64_t n, uint64_t seed, double scale = 1.0) {
  Rng rng(seed);
  Floats x(index_of(n));
  for (float& v : x) v = static_cast<float>(scale * rng.normal());
  return x;
}

// |got - want| <= tolerance * (1 + max |want|) everywhere; names the worst element.
inline void expect_near(const Floats& got, const Doubles& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double most = 0, worst = 0;
  size_t at = 0;
  for (const double v : want) most = std::max(most, std::abs(v));
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(error <= worst)) worst = error, at = i;  // also true for NaN
  }
  EXPECT_LE(worst, tolerance * (1 + most)) << what << ": at " << at << " got " << (got.empty() ? 0 : got[at])
                                           << " want " << (want.empty() ? 0 : want[at]);
  EXPECT_FALSE(std::isnan(worst)) << what;
}

inline bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace frugal::kernels
