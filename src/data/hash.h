// A fast 128-bit hash of bytes, for telling documents and files apart: duplicates, cache keys, checksums. The
// chance of a collision among n documents is about n^2 / 2^129. It withstands accidents, not adversaries (no
// secret, not cryptographic), and its values are part of the cache's file format: changing it needs a new
// kCacheVersion.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace frugal {

struct Hash128 {
  uint64_t high = 0, low = 0;
  auto operator<=>(const Hash128&) const = default;
  std::string hex() const;  // 32 digits
};

// Any way of cutting the bytes into update() calls gives the same hash.
class Hasher128 {
 public:
  void update(const void* data, size_t bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  // A length before the text, so that ("ab", "c") and ("a", "bc") differ.
  void update_framed(std::string_view text);
  void update_number(uint64_t value) { update(&value, sizeof value); }
  Hash128 finish() const;

 private:
  void block(const unsigned char* bytes);                       // 16 bytes
  uint64_t a_ = 0x243f6a8885a308d3u, b_ = 0x13198a2e03707344u;  // digits of pi
  uint64_t length_ = 0;
  unsigned char pending_[16] = {};
};

Hash128 hash128(std::string_view text);

}  // namespace frugal
