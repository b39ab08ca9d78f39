// The byte-level alphabet of GPT-2: each byte has a printable character, so that a vocabulary of bytes can be
// written as JSON strings. Visible Latin-1 bytes stand for themselves; the rest are U+0100, U+0101, ... in
// order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace frugal {

// The character of a byte, as a code point.
uint32_t byte_to_char(uint8_t byte);
// "\n the" -> "ĊĠthe"
std::string bytes_to_alphabet(std::string_view bytes);
// The way back; empty when some character is not in the alphabet or the text is not valid UTF-8.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace frugal
