#include "text/byte_alphabet.h"

#include <array>

#include "text/unicode.h"

namespace frugal {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> chars{};
  std::array<int16_t, 0x144> bytes{};  // by code point; -1 where there is none
  constexpr Alphabet() {
    bytes.fill(-1);
    uint16_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      chars[static_cast<size_t>(byte)] = stands_for_itself(byte) ? static_cast<uint16_t>(byte) : next++;
      bytes[chars[static_cast<size_t>(byte)]] = static_cast<int16_t>(byte);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

uint32_t byte_to_char(uint8_t byte) {
  return kAlphabet.chars[byte];
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) append_utf8(out, byte_to_char(static_cast<uint8_t>(c)));
  return out;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const DecodedChar c = decode_utf8(p, end);
    if (c.code >= kAlphabet.bytes.size() || kAlphabet.bytes[c.code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kAlphabet.bytes[c.code]));
    p += c.bytes;
  }
  return out;
}

}  // namespace frugal
