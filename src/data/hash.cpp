#include "data/hash.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace frugal {
namespace {

constexpr uint64_t kFirst = 0xa4093822299f31d1u,
                   kSecond = 0x082efa98ec4e6c89u;  // more digits of pi, made odd

// Both halves of the 128-bit product, xored: every input bit reaches every output bit.
uint64_t fold(uint64_t x, uint64_t y) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(x) * y;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t load(const unsigned char* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

}  // namespace

std::string Hash128::hex() const {
  return fmt::format("{:016x}{:016x}", high, low);
}

// Each lane takes in both words, so a collision needs both 64-bit lanes to collide. The rotated old state is
// added because a factor of zero would otherwise forget everything before it.
void Hasher128::block(const unsigned char* bytes) {
  const uint64_t x = load(bytes), y = load(bytes + 8);
  a_ = fold(a_ ^ x, y ^ kFirst) + std::rotl(a_, 29);
  b_ = fold(b_ ^ y, x ^ kSecond) + std::rotl(b_, 41);
}

void Hasher128::update(const void* data, size_t bytes) {
  if (bytes == 0) return;  // data may be null then
  auto p = static_cast<const unsigned char*>(data);
  size_t filled = length_ % 16;
  length_ += bytes;
  if (filled > 0) {
    const size_t take = std::min(bytes, 16 - filled);
    std::memcpy(pending_ + filled, p, take);
    p += take;
    bytes -= take;
    if (filled + take < 16) return;
    block(pending_);
  }
  for (; bytes >= 16; p += 16, bytes -= 16) block(p);
  if (bytes > 0) std::memcpy(pending_, p, bytes);
}

void Hasher128::update_framed(std::string_view text) {
  update_number(text.size());
  update(text);
}

Hash128 Hasher128::finish() const {
  Hasher128 last = *this;
  const size_t filled = length_ % 16;
  std::memset(last.pending_ + filled, 0, 16 - filled);
  last.block(last.pending_);
  const uint64_t a = last.a_ ^ length_, b = last.b_;
  const uint64_t mixed = fold(a ^ kSecond, b ^ kFirst);
  return {fold(a ^ mixed, kFirst) ^ std::rotl(b, 32), fold(b ^ std::rotl(mixed, 32), kSecond) ^ a};
}

Hash128 hash128(std::string_view text) {
  Hasher128 hasher;
  hasher.update(text);
  return hasher.finish();
}

}  // namespace frugal
