#include "text/qwen2_split.h"

namespace frugal {
namespace {

struct Char {
  uint32_t code = 0;
  CharClass kind = CharClass::other;
  const char* next = nullptr;
};

struct Scanner {
  const char* end;
  const CharClass* classes;

  // p < end, valid UTF-8
  Char at(const char* p) const {
    const auto first = static_cast<unsigned char>(*p);
    if (first < 0x80) return {first, classes[first], p + 1};
    const DecodedChar c = decode_utf8(p, end);
    return {c.code, classes[c.code], p + c.bytes};
  }
  const char* skip_letters(const char* p) const {
    while (p < end) {
      const Char c = at(p);
      if (c.kind != CharClass::letter) break;
      p = c.next;
    }
    return p;
  }
};

bool is_newline(uint32_t code) {
  return code == '\r' || code == '\n';
}
bool is_plain(CharClass kind) {  // neither \s nor \p{L} nor \p{N}
  return kind != CharClass::space && kind != CharClass::letter && kind != CharClass::number;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d) with p at the apostrophe; nullptr when it is none of them.
const char* contraction_end(const char* p, const char* end) {
  if (end - p < 2) return nullptr;
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  switch (lower(p[1])) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return p + 2;
    case 'r':
    case 'v':
      return end - p > 2 && lower(p[2]) == 'e' ? p + 3 : nullptr;
    case 'l':
      return end - p > 2 && lower(p[2]) == 'l' ? p + 3 : nullptr;
    case '\xC5':
      return end - p > 2 && p[2] == '\xBF' ? p + 3 : nullptr;  // U+017F folds to s
    default:
      return nullptr;
  }
}

// \s*[\r\n]+|\s+(?!\S)|\s+ with p at white space.
const char* space_end(const char* p, const Scanner& scan) {
  const char* last = p;  // the last white space of the run
  const char* after_newline = nullptr;
  const char* q = p;
  while (q < scan.end) {
    const Char c = scan.at(q);
    if (c.kind != CharClass::space) break;
    last = q;
    q = c.next;
    if (is_newline(c.code)) after_newline = q;
  }
  if (after_newline) return after_newline;
  return q == scan.end || last == p ? q : last;
}

}  // namespace

const char* qwen2_word_end(const char* p, const char* end, const CharClass* classes) {
  const Scanner scan{end, classes};
  const Char first = scan.at(p);
  if (first.kind == CharClass::letter) return scan.skip_letters(first.next);
  if (first.kind == CharClass::number) return first.next;
  if (first.code == '\'') {
    if (const char* after = contraction_end(p, end)) return after;
  }
  if (!is_newline(first.code) && first.next < end) {
    const Char second = scan.at(first.next);
    if (second.kind == CharClass::letter) return scan.skip_letters(second.next);
  }
  if (first.kind == CharClass::space) {
    const bool symbol_follows = first.code == ' ' && first.next < end && is_plain(scan.at(first.next).kind);
    if (!symbol_follows) return space_end(p, scan);
  }
  const char* q = first.next;
  while (q < end) {
    const Char c = scan.at(q);
    if (!is_plain(c.kind)) break;
    q = c.next;
  }
  while (q < end && is_newline(static_cast<unsigned char>(*q))) ++q;
  return q;
}

}  // namespace frugal
