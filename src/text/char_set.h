// Which characters a one-character pattern matches, as a table that is filled as characters come up. PCRE2
// decides; asking it for every character would be slow.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "text/unicode.h"

namespace frugal {

class CharSet {
 public:
  // `pattern`: PCRE2's syntax; it must match texts of one character only. Error when it does not compile.
  explicit CharSet(const std::string& pattern);
  ~CharSet();
  CharSet(CharSet&&) noexcept;

  // Bytes of the character at `at` if it is in the set, else 0; also 0 at the end. Valid UTF-8. Safe from any
  // number of threads.
  size_t match(std::string_view text, size_t at) const {
    if (at >= text.size()) return 0;
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) return ascii_[byte / 64] >> (byte % 64) & 1;
    const DecodedChar c = decode_utf8(text.data() + at, text.data() + text.size());
    return contains_wide(c.code) ? c.bytes : 0;
  }
  // Bytes that a character of the set may begin with, as bits; all of those beyond ASCII.
  std::array<uint64_t, 4> first_bytes() const { return {ascii_[0], ascii_[1], ~uint64_t{0}, ~uint64_t{0}}; }

 private:
  struct Code;
  struct Plane;  // 65,536 characters
  static constexpr size_t kPlanes = 17;
  bool ask(uint32_t code) const;
  bool contains_wide(uint32_t code) const;

  std::unique_ptr<Code> code_;
  std::array<uint64_t, 2> ascii_{};
  std::unique_ptr<std::array<std::atomic<Plane*>, kPlanes>> planes_;
};

}  // namespace frugal
