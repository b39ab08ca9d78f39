// UTF-8 and the few Unicode properties that tokenizers need. Everything about Unicode is behind this file and
// regex.h. Properties are those of Unicode 16.0 (what HF tokenizers has); NFC comes from utf8proc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/utf8.h"  // valid_utf8_prefix

namespace frugal {

// L*, N*, M*, P* and S* of the general category; `space` is the property White_Space and comes first.
enum class CharClass : uint8_t { other, letter, number, mark, punctuation, symbol, space };

// The class of every code point: char_classes()[c] for c < 0x110000.
const CharClass* char_classes();

inline constexpr uint32_t kInvalidChar = 0xFFFFFFFF;
struct DecodedChar {
  uint32_t code;   // kInvalidChar when the bytes at this place are not a character
  uint32_t bytes;  // how many belong to it; 1 when invalid
};
// The character at `p`, strictly (no overlong forms, no surrogates). Needs p < end.
DecodedChar decode_utf8(const char* p, const char* end);

void append_utf8(std::string& out, uint32_t code);

// Length of the run of bytes at the start that belong to no valid character.
size_t invalid_utf8_prefix(std::string_view text);
// How many bytes at the end begin a character that more bytes could complete (0 to 3).
size_t incomplete_utf8_tail(std::string_view text);

// Normal forms (UAX #15) of valid UTF-8, in O(n log n) whatever the text.
enum class NormalForm { nfc, nfd, nfkc, nfkd };
std::string normalize(std::string_view text, NormalForm form);
inline std::string nfc(std::string_view text) {
  return normalize(text, NormalForm::nfc);
}

// Simple case mappings (one character to one).
uint32_t to_upper(uint32_t code);
uint32_t to_lower(uint32_t code);
// Appends the full lower case, which is two characters for U+0130.
void append_lower(std::string& out, uint32_t code);

// A code point range whose general category was assigned after Unicode 14, PCRE2's version in Debian 12.
struct NewRange {
  uint32_t first, last;
  char category[3];
};
const NewRange* new_ranges_begin();
const NewRange* new_ranges_end();

}  // namespace frugal
