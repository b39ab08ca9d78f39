#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <vector>

#include "core/error.h"

namespace frugal {
namespace {

struct ClassRun {
  uint32_t first;
  CharClass value;
};
#include "text/unicode_ranges.inc"

constexpr uint32_t kCodePoints = 0x110000;

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// Bytes a character needs by its first byte; 0 when no character starts so.
uint32_t needed_bytes(unsigned char first) {
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return 2;
  if (first < 0xF0) return 3;
  return first < 0xF5 ? 4 : 0;
}

// Whether the second byte may follow the first (excludes overlong forms, surrogates, values past U+10FFFF).
bool second_byte_fits(unsigned char first, unsigned char second) {
  if ((second & 0xC0) != 0x80) return false;
  if (first == 0xE0) return second >= 0xA0;
  if (first == 0xED) return second < 0xA0;
  if (first == 0xF0) return second >= 0x90;
  if (first == 0xF4) return second < 0x90;
  return true;
}

}  // namespace

const CharClass* char_classes() {
  static const std::unique_ptr<const CharClass[]> table = [] {
    auto classes = std::make_unique<CharClass[]>(kCodePoints);
    for (size_t i = 0; i < std::size(kClassRuns); ++i) {
      const uint32_t end = i + 1 < std::size(kClassRuns) ? kClassRuns[i + 1].first : kCodePoints;
      std::fill(classes.get() + kClassRuns[i].first, classes.get() + end, kClassRuns[i].value);
    }
    return classes;
  }();
  return table.get();
}

const NewRange* new_ranges_begin() {
  return std::begin(kAssignedSince14);
}
const NewRange* new_ranges_end() {
  return std::end(kAssignedSince14);
}

DecodedChar decode_utf8(const char* p, const char* end) {
  const auto first = static_cast<unsigned char>(*p);
  if (first < 0x80) return {first, 1};
  const uint32_t need = needed_bytes(first);
  if (need < 2 || end - p < need || !second_byte_fits(first, static_cast<unsigned char>(p[1]))) {
    return {kInvalidChar, 1};
  }
  uint32_t code = first & (0x7F >> need);
  for (uint32_t i = 1; i < need; ++i) {
    if (!is_continuation(p[i])) return {kInvalidChar, 1};
    code = (code << 6) | (static_cast<unsigned char>(p[i]) & 0x3F);
  }
  return {code, need};
}

void append_utf8(std::string& out, uint32_t code) {
  CHECK(code < kCodePoints);
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

uint32_t to_upper(uint32_t code) {
  return static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
}
uint32_t to_lower(uint32_t code) {
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

namespace {

struct CodeRange {
  uint32_t first, last;
};
template <size_t N>
bool contains(const CodeRange (&ranges)[N], uint32_t code) {
  const auto* after = std::upper_bound(std::begin(ranges), std::end(ranges), code,
                                       [](uint32_t c, const CodeRange& r) { return c < r.first; });
  return after != std::begin(ranges) && code <= std::prev(after)->last;
}

// HF tokenizers normalises by the tables of Unicode 9. Characters that have a decomposition or a combining
// class since have neither there (found by comparing all characters: tools/check_tokenizers.py).
constexpr CodeRange kDecomposedSince9[] = {
    {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xAB69, 0xAB69},   {0x10781, 0x10785}, {0x10787, 0x107B0},
    {0x107B2, 0x107BA}, {0x11938, 0x11938}, {0x1E030, 0x1E06D}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};
constexpr CodeRange kCombiningSince9[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};

// Capital letters that utf8proc in Debian 12 is too old to know; the distance to the small one.
int32_t newer_capital(uint32_t code) {
  if (code >= 0x10D50 && code <= 0x10D65) return 0x20;
  if (code >= 0x16EA0 && code <= 0x16EB8) return 0x1B;
  switch (code) {
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA:
      return 1;
    case 0xA7CB:
      return 0x264 - 0xA7CB;
    case 0xA7DC:
      return 0x19B - 0xA7DC;
    default:
      return 0;
  }
}

}  // namespace

void append_lower(std::string& out, uint32_t code) {
  constexpr uint32_t kDottedCapitalI = 0x130, kDotAbove = 0x307;
  if (code == kDottedCapitalI) {
    out += 'i';
    append_utf8(out, kDotAbove);
  } else if (const int32_t distance = newer_capital(code); distance != 0) {
    append_utf8(out, static_cast<uint32_t>(static_cast<int32_t>(code) + distance));
  } else {
    append_utf8(out, to_lower(code));
  }
}

size_t invalid_utf8_prefix(std::string_view text) {
  size_t i = 0;
  const char* const end = text.data() + text.size();
  while (i < text.size() && decode_utf8(text.data() + i, end).code == kInvalidChar) ++i;
  return i;
}

size_t incomplete_utf8_tail(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const char* p = text.data() + text.size() - back;
    if (is_continuation(*p)) continue;
    const auto first = static_cast<unsigned char>(*p);
    if (needed_bytes(first) <= back) return 0;
    if (back >= 2 && !second_byte_fits(first, static_cast<unsigned char>(p[1]))) return 0;
    return back;
  }
  return 0;
}

std::string normalize(std::string_view text, NormalForm form) {
  const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  const bool compose = form == NormalForm::nfc || form == NormalForm::nfkc;
  // ASCII stays as it is; in NFC, so does all below U+0300, and 0xCC is the first lead byte at or above it.
  const unsigned char first_lead = form == NormalForm::nfc ? 0xCC : 0x80;
  const auto untouched = [&](char c) { return static_cast<unsigned char>(c) < first_lead; };
  if (std::all_of(text.begin(), text.end(), untouched)) return std::string(text);
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size() + 8);
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const DecodedChar c = decode_utf8(p, end);
    CHECK(c.code != kInvalidChar, "normal forms need valid UTF-8");
    p += c.bytes;
    if (contains(kDecomposedSince9, c.code)) {
      codes.push_back(static_cast<utf8proc_int32_t>(c.code));
      continue;
    }
    utf8proc_int32_t parts[32];
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts, 32, options, &boundary);
    CHECK(count >= 0 && count <= 32);
    codes.insert(codes.end(), parts, parts + count);
  }
  // utf8proc sorts marks by exchanging neighbours, quadratic on hostile text: sort each run here.
  const auto combining = [](utf8proc_int32_t code) -> utf8proc_propval_t {
    if (contains(kCombiningSince9, static_cast<uint32_t>(code))) return 0;
    return utf8proc_get_property(code)->combining_class;
  };
  for (size_t i = 0; i < codes.size();) {
    size_t j = i;
    while (j < codes.size() && combining(codes[j]) != 0) ++j;
    if (j - i > 1) {
      std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(i), codes.begin() + static_cast<ptrdiff_t>(j),
                       [&](auto a, auto b) { return combining(a) < combining(b); });
    }
    i = j + 1;
  }
  auto length = static_cast<utf8proc_ssize_t>(codes.size());
  if (compose) {
    length = utf8proc_normalize_utf32(codes.data(), length,
                                      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    CHECK(length >= 0);
  }
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < length; ++i)
    append_utf8(out, static_cast<uint32_t>(codes[static_cast<size_t>(i)]));
  return out;
}

}  // namespace frugal
