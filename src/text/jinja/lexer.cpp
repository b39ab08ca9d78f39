#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "text/unicode.h"

namespace frugal::jinja {
namespace {

// "\r\n" and "\r" become "\n"; one newline at the very end goes.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r')
      out += source[i];
    else if (i + 1 == source.size() || source[i + 1] != '\n')
      out += '\n';
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag();
      if (tag == std::string::npos) {
        put(TokenKind::data, source_.substr(at_));
        advance(source_.size() - at_);
        break;
      }
      const char kind = source_[tag + 1];
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      put_data(tag, sign, kind);
      advance(tag - at_ + (sign == '-' || sign == '+' ? 3 : 2));
      if (kind == '#')
        comment();
      else if (kind == '%' && begins_raw())
        raw();
      else
        expression(kind == '%');
    }
    put(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const { fail("line {}: {}", line_, what); }

  void put(TokenKind kind, std::string text) {
    if (kind != TokenKind::data || !text.empty()) tokens_.push_back({kind, std::move(text), line_});
  }
  void advance(size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
    line_start_ = bytes > 0 && source_[at_ - 1] == '\n';
  }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }

  size_t find_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    }
    return std::string::npos;
  }

  // The text before a tag: "-" strips all white space, otherwise a block's own indentation goes.
  void put_data(size_t end, char sign, char kind) {
    size_t keep = end;
    if (sign == '-') {
      while (keep > at_ && is_space(source_[keep - 1])) --keep;
    } else if (sign != '+' && kind != '{') {
      size_t line = end;
      while (line > at_ && source_[line - 1] != '\n') --line;
      const bool whole_line = line > at_ || line_start_;
      const auto blank = [&](size_t i) { return is_space(source_[i]); };
      bool all = whole_line && line < end;
      for (size_t i = line; all && i < end; ++i) all = blank(i);
      if (all) keep = line;
    }
    put(TokenKind::data, source_.substr(at_, keep - at_));
  }

  void skip_space() {
    size_t n = 0;
    while (at_ + n < source_.size() && is_space(source_[at_ + n])) ++n;
    if (n) advance(n);
  }
  // After "-%}" all white space goes, after "%}" one newline, after "+%}" and "}}" nothing.
  void close_tag(std::string_view close, char sign, bool trim) {
    advance((sign ? 1 : 0) + close.size());
    if (sign == '-')
      skip_space();
    else if (!sign && trim && rest().starts_with('\n'))
      advance(1);
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) refuse("a comment without its end");
    const char before = end > at_ ? source_[end - 1] : '\0';
    const char sign = before == '-' || before == '+' ? before : '\0';
    advance(end - at_ - (sign ? 1 : 0));
    close_tag("#}", sign, true);
  }

  bool begins_raw() const {
    std::string_view text = rest();
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    if (!text.starts_with("raw")) return false;
    text.remove_prefix(3);
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    return text.starts_with("%}") || text.starts_with("-%}");
  }
  void raw() {
    const size_t open = source_.find("%}", at_);
    const bool strip = source_[open - 1] == '-';
    advance(open + 2 - at_);
    if (strip) skip_space();
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      size_t i = tag + 2;
      const char sign = i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i] : '\0';
      if (sign) ++i;
      while (i < source_.size() && is_space(source_[i])) ++i;
      if (source_.compare(i, 6, "endraw") != 0) continue;
      i += 6;
      while (i < source_.size() && is_space(source_[i])) ++i;
      const char end_sign =
          i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i] : '\0';
      if (source_.compare(i + (end_sign ? 1 : 0), 2, "%}") != 0) continue;
      put_data(tag, sign, '%');
      advance(i - at_);
      return close_tag("%}", end_sign, true);
    }
    refuse("a raw block without its end");
  }

  void expression(bool block) {
    const std::string_view close = block ? "%}" : "}}";
    put(block ? TokenKind::block_begin : TokenKind::output_begin, "");
    std::string open;  // brackets, so that "}}" inside a dict is not the end
    while (true) {
      skip_space();
      if (at_ >= source_.size()) refuse("a tag without its end");
      const char c = source_[at_];
      if (open.empty()) {
        const char sign = c == '-' || (c == '+' && block) ? c : '\0';
        if (rest().substr(sign ? 1 : 0).starts_with(close)) {
          put(block ? TokenKind::block_end : TokenKind::output_end, "");
          return close_tag(close, sign, block);
        }
      }
      if (c == '\'' || c == '"')
        string_literal(c);
      else if (is_digit(c))
        number();
      else if (is_name_start(c))
        name();
      else
        op(open);
    }
  }

  void name() {
    size_t n = 1;
    while (at_ + n < source_.size() && (is_name_start(source_[at_ + n]) || is_digit(source_[at_ + n]))) ++n;
    put(TokenKind::name, source_.substr(at_, n));
    advance(n);
  }

  void number() {
    size_t n = 0;
    std::string digits;
    const auto take_digits = [&] {
      while (at_ + n < source_.size()) {
        const char c = source_[at_ + n];
        if (is_digit(c))
          digits += c;
        else if (c != '_' || at_ + n + 1 >= source_.size() || !is_digit(source_[at_ + n + 1]))
          break;
        ++n;
      }
    };
    const auto peek = [&](size_t k) { return at_ + n + k < source_.size() ? source_[at_ + n + k] : '\0'; };
    take_digits();
    bool real = false;
    if (peek(0) == '.' && is_digit(peek(1))) {
      real = true;
      digits += '.';
      ++n;
      take_digits();
    }
    const size_t sign = peek(1) == '+' || peek(1) == '-' ? 1 : 0;
    if ((peek(0) == 'e' || peek(0) == 'E') && is_digit(peek(1 + sign))) {
      real = true;
      digits += 'e';
      if (sign) digits += peek(1);
      n += 1 + sign;
      take_digits();
    }
    if (!real && digits.size() > 1 && digits[0] == '0' &&
        digits.find_first_not_of('0') != std::string::npos) {
      refuse("a number that begins with 0");
    }
    put(real ? TokenKind::real : TokenKind::integer, digits);
    advance(n);
  }

  void string_literal(char quote) {
    size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote) i += source_[i] == '\\' ? 2 : 1;
    if (i >= source_.size()) refuse("a string without its end");
    put(TokenKind::text, unescape(std::string_view(source_).substr(at_ + 1, i - at_ - 1)));
    advance(i + 1 - at_);
  }

  std::string unescape(std::string_view raw) const {
    std::string out;
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\') {
        out += raw[i];
        continue;
      }
      const char c = raw[++i];  // a backslash is never last: the literal would not have ended
      static constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t k = kFrom.find(c); k != std::string_view::npos) {
        out += kTo[k];
      } else if (c == '\n') {
      } else if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        size_t n = 0;
        for (; n < 3 && i + n < raw.size() && raw[i + n] >= '0' && raw[i + n] <= '7'; ++n) {
          code = code * 8 + static_cast<uint32_t>(raw[i + n] - '0');
        }
        append_utf8(out, code);
        i += n - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_utf8(out, hex(raw.substr(i + 1, digits), digits));
        i += digits;
      } else {
        out += {'\\', c};
      }
    }
    return out;
  }
  uint32_t hex(std::string_view text, size_t digits) const {
    uint32_t code = 0;
    for (const char c : text) {
      const int d = is_digit(c)            ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
      if (d < 0) refuse("a bad escape in a string");
      code = code * 16 + static_cast<uint32_t>(d);
    }
    if (text.size() != digits || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      refuse("a bad escape in a string");
    return code;
  }

  void op(std::string& open) {
    static constexpr std::array<std::string_view, 26> kOps = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const auto candidate : kOps) {
      if (!rest().starts_with(candidate)) continue;
      const char c = candidate[0];
      if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
      if (c == ')' || c == ']' || c == '}') {
        if (open.empty() || open.back() != c) refuse(fmt::format("unexpected '{}'", c));
        open.pop_back();
      }
      put(TokenKind::op, std::string(candidate));
      return advance(candidate.size());
    }
    refuse(fmt::format("unexpected character '{}'", source_[at_]));
  }

  std::string source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_start_ = true;
};

}  // namespace

std::vector<Token> lex(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace frugal::jinja
