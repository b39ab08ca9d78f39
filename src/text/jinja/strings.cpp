#include "text/jinja/strings.h"

#include <algorithm>

#include "core/error.h"
#include "text/unicode.h"

namespace frugal::jinja {
namespace {

struct Char {
  uint32_t code;
  size_t bytes;
  CharClass kind;
};
Char char_at(std::string_view text, size_t at) {
  const DecodedChar c = decode_utf8(text.data() + at, text.data() + text.size());
  // Python counts the separators U+001C to U+001F as white space too.
  const bool separator = c.code >= 0x1C && c.code <= 0x1F;
  const CharClass kind = c.code == kInvalidChar ? CharClass::other
                         : separator            ? CharClass::space
                                                : char_classes()[c.code];
  return {c.code, c.bytes, kind};
}

template <class F>
void for_each_char(std::string_view text, F f) {
  for (size_t i = 0; i < text.size();) {
    const Char c = char_at(text, i);
    f(c, text.substr(i, c.bytes));
    i += c.bytes;
  }
}

void append_cased(std::string& out, const Char& c, std::string_view bytes, bool upper) {
  if (c.code == kInvalidChar)
    out += bytes;
  else if (c.code == 0xDF && upper)
    out += "SS";  // the one common letter whose capital is two
  else
    append_utf8(out, upper ? to_upper(c.code) : to_lower(c.code));
}

}  // namespace

std::vector<size_t> char_offsets(std::string_view text) {
  std::vector<size_t> at;
  at.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size();) {
    at.push_back(i);
    i += decode_utf8(text.data() + i, text.data() + text.size()).bytes;
  }
  at.push_back(text.size());
  return at;
}

size_t char_count(std::string_view text) {
  size_t count = 0;
  for_each_char(text, [&](const Char&, std::string_view) { ++count; });
  return count;
}

Text strip(const Text& text, Side side, const std::string* chars) {
  const std::vector<size_t> at = char_offsets(text.bytes);
  size_t begin = 0, end = at.size() - 1;  // characters
  const auto goes = [&](size_t i) {
    const std::string_view one = std::string_view(text.bytes).substr(at[i], at[i + 1] - at[i]);
    if (!chars) return char_at(text.bytes, at[i]).kind == CharClass::space;
    return chars->find(one) != std::string::npos;
  };
  while (side != Side::right && begin < end && goes(begin)) ++begin;
  while (side != Side::left && end > begin && goes(end - 1)) --end;
  return slice_text(text, at[begin], at[end]);
}

Text change_case(const Text& text, Case how) {
  std::string out;
  bool start = true;  // of a word, or of the text
  for_each_char(text.bytes, [&](const Char& c, std::string_view bytes) {
    const bool upper = how == Case::upper || (how != Case::lower && start);
    append_cased(out, c, bytes, upper);
    if (how == Case::title)
      start = c.kind != CharClass::letter;
    else if (how == Case::capitalize)
      start = false;
    else
      start = c.kind == CharClass::space ||
              (c.code < 0x80 && std::string_view("-({[<").find(bytes[0]) != std::string_view::npos);
  });
  return marked(std::move(out), !text.input.empty());
}

Text replace(const Text& text, const Text& from, const Text& to, int64_t count) {
  Text out;
  size_t done = 0;
  if (from.bytes.empty()) {  // between all characters
    for (const size_t at : char_offsets(text.bytes)) {
      append_text(out, slice_text(text, done, at));
      done = at;
      if (count-- == 0) break;
      append_text(out, to);
    }
    append_text(out, slice_text(text, done, text.bytes.size()));
    return out;
  }
  for (size_t at = text.bytes.find(from.bytes); at != std::string::npos && count-- != 0;
       at = text.bytes.find(from.bytes, done)) {
    append_text(out, slice_text(text, done, at));
    append_text(out, to);
    done = at + from.bytes.size();
  }
  append_text(out, slice_text(text, done, text.bytes.size()));
  return out;
}

std::vector<Text> split(const Text& text, const std::string* separator, int64_t most, bool from_right) {
  // The pieces as byte ranges, all of them; then those past `most` are joined again.
  std::vector<TextSpan> pieces;
  const std::string& bytes = text.bytes;
  if (separator) {
    if (separator->empty()) fail("empty separator");
    if (from_right) {
      size_t end = bytes.size();
      while (most-- != 0 && end >= separator->size()) {
        const size_t at = bytes.rfind(*separator, end - separator->size());
        if (at == std::string::npos) break;
        pieces.push_back({at + separator->size(), end});
        end = at;
      }
      pieces.push_back({0, end});
      std::reverse(pieces.begin(), pieces.end());
    } else {
      size_t begin = 0;
      while (most-- != 0) {
        const size_t at = bytes.find(*separator, begin);
        if (at == std::string::npos) break;
        pieces.push_back({begin, at});
        begin = at + separator->size();
      }
      pieces.push_back({begin, bytes.size()});
    }
  } else {
    size_t begin = std::string::npos;
    const std::vector<size_t> at = char_offsets(bytes);
    for (size_t i = 0; i + 1 < at.size(); ++i) {
      const bool space = char_at(bytes, at[i]).kind == CharClass::space;
      if (!space && begin == std::string::npos) begin = at[i];
      if (space && begin != std::string::npos) {
        pieces.push_back({begin, at[i]});
        begin = std::string::npos;
      }
    }
    if (begin != std::string::npos) pieces.push_back({begin, bytes.size()});
    const auto limit = static_cast<size_t>(most);
    if (most >= 0 && pieces.size() > limit + 1) {
      if (from_right) {  // the rest keeps its leading white space, without the trailing
        pieces[pieces.size() - limit - 1].begin = 0;
        pieces.erase(pieces.begin(), pieces.end() - static_cast<ptrdiff_t>(limit) - 1);
      } else {
        pieces[limit].end = bytes.size();
        pieces.resize(limit + 1);
      }
    }
  }
  std::vector<Text> out;
  out.reserve(pieces.size());
  for (const TextSpan& piece : pieces) out.push_back(slice_text(text, piece.begin, piece.end));
  return out;
}

std::vector<Text> split_lines(const Text& text, bool keep_ends) {
  std::vector<Text> out;
  size_t begin = 0;
  const std::string& bytes = text.bytes;
  for (size_t i = 0; i < bytes.size();) {
    const Char c = char_at(bytes, i);
    const bool ends = (c.code >= '\n' && c.code <= '\r') || (c.code >= 0x1C && c.code <= 0x1E) ||
                      c.code == 0x85 || c.code == 0x2028 || c.code == 0x2029;
    const size_t at = i;
    i += c.bytes;
    if (!ends) continue;
    if (c.code == '\r' && i < bytes.size() && bytes[i] == '\n') ++i;
    out.push_back(slice_text(text, begin, keep_ends ? i : at));
    begin = i;
  }
  if (begin < bytes.size()) out.push_back(slice_text(text, begin, bytes.size()));
  return out;
}

}  // namespace frugal::jinja
