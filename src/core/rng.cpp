#include "core/rng.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace frugal {

std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

uint64_t hash64(std::string_view text, uint64_t seed) {
  uint64_t h = 0xcbf29ce484222325u ^ seed;
  for (const unsigned char c : text) h = (h ^ c) * 0x100000001b3u;
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
  return h ^ (h >> 33);
}

uint32_t Rng::bits() {
  const uint64_t block = position_ / 4;
  if (block != block_) {
    block_ = block;
    words_ = philox({static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)},
                    {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                     static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)});
  }
  return words_[position_++ % 4];
}

double Rng::uniform() {
  return static_cast<double>(bits64() >> 11) * 0x1.0p-53;
}

double Rng::normal() {
  const double u = 1.0 - uniform();  // (0, 1]
  const double v = uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint64_t Rng::below(uint64_t bound) {
  CHECK(bound > 0);
  const uint64_t limit =
      ~uint64_t{0} - (~uint64_t{0} % bound + 1) % bound;  // last value of a whole number of rounds
  for (;;) {
    const uint64_t x = bits64();
    if (x <= limit) return x % bound;
  }
}

}  // namespace frugal
