// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
// SC11). The n-th number of (seed, stream) is a pure function of n, so any thread can compute any part and a
// saved position resumes exactly.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace frugal {

std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter);

// A stable 64-bit hash (FNV-1a, finished with a mixer) to turn a name into a stream.
uint64_t hash64(std::string_view text, uint64_t seed = 0);

class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0, uint64_t position = 0)
      : seed_(seed), stream_(stream), position_(position) {}
  uint32_t bits();  // 32 uniform bits; advances position by one
  uint64_t bits64() { return (uint64_t{bits()} << 32) | bits(); }
  double uniform();                // [0, 1), 53 bits
  double normal();                 // N(0, 1), Box-Muller on two uniforms, no hidden state
  uint64_t below(uint64_t bound);  // [0, bound), unbiased
  uint64_t position() const { return position_; }

 private:
  uint64_t seed_, stream_, position_;
  uint64_t block_ = ~uint64_t{0};
  std::array<uint32_t, 4> words_{};
};

}  // namespace frugal
