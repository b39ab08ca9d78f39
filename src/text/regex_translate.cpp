// Oniguruma (Ruby syntax) -> PCRE2, for the constructs that pre-tokenisers use. What differs:
// \s and \w cover other characters, \h means hex digits, (?m) means dot-all, classes nest, and PCRE2 in
// Debian 12 knows Unicode 14 where HF knows 16.
#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace frugal {
namespace {

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\')
        escape(false);
      else if (c == '[')
        char_class();
      else if (c == '(')
        group();
      else if (c == '}')
        closing_brace();
      else
        copy(1);
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail("pattern {:?}: {} at byte {} is not supported", in_, what, at_);
  }
  char peek(size_t ahead) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void copy(size_t bytes) {
    out_.append(in_.substr(at_, bytes));
    at_ += bytes;
  }

  // A '+' after {n,m} repeats the repeat in Ruby and is possessive in PCRE2.
  void closing_brace() {
    if (peek(1) == '+') refuse("'+' after a counted repeat");
    copy(1);
  }

  void group() {
    if (peek(1) != '?') return copy(1);
    static constexpr std::string_view kKnown[] = {
        "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)", "(?-i:"};
    for (const auto known : kKnown) {
      if (in_.substr(at_).starts_with(known)) return copy(known.size());
    }
    refuse("this kind of group");
  }

  void char_class() {
    copy(1);
    if (peek(0) == '^') copy(1);
    if (peek(0) == ']') refuse("']' first in a class");
    while (true) {
      if (at_ >= in_.size()) refuse("a class without its end");
      const char c = in_[at_];
      if (c == ']') return copy(1);
      if (c == '[' && peek(1) == ':') {
        const size_t end = in_.find(":]", at_);
        if (end == std::string_view::npos) refuse("a bracket class without its end");
        copy(end + 2 - at_);
      } else if (c == '[') {
        refuse("a class in a class");
      } else if (c == '&' && peek(1) == '&') {
        refuse("an intersection of classes");
      } else if (c == '\\') {
        escape(true);
      } else {
        copy(1);
      }
    }
  }

  // Puts `positive` (the inside of a class) where the escape stood, negated or not.
  void put_set(std::string_view positive, bool negated, bool in_class) {
    if (!in_class) {
      out_ += negated ? "[^" : "[";
      out_ += positive;
      out_ += ']';
    } else if (!negated) {
      out_ += positive;
    } else {
      refuse("this negated escape in a class");
    }
  }

  void escape(bool in_class) {
    const char c = peek(1);
    switch (c) {
      case 's':
        out_ += "\\p{White_Space}";
        at_ += 2;
        return;
      case 'S':
        out_ += "\\P{White_Space}";
        at_ += 2;
        return;
      case 'w':
      case 'W':
        put_set("\\p{L}" + newer("L") + "\\p{M}" + newer("M") + "\\p{N}" + newer("N") + "\\p{Pc}", c == 'W',
                in_class);
        at_ += 2;
        return;
      case 'd':
      case 'D':
        put_set("\\p{Nd}" + newer("Nd"), c == 'D', in_class);
        at_ += 2;
        return;
      case 'p':
      case 'P':
        return property(in_class);
      case 'u':
        return unicode_escape();
      case 'x':
        return copy(peek(2) == '{' ? std::min(in_.find('}', at_), in_.size() - 1) + 1 - at_ : 2);
      case 't':
      case 'n':
      case 'r':
      case 'f':
        return copy(2);
      case 'b':
      case 'B':
      case 'A':
      case 'z':
        if (in_class) refuse(fmt::format("\\{} in a class", c));
        return copy(2);
      default:
        if (c == '\0' || std::isalnum(static_cast<unsigned char>(c)))
          refuse(fmt::format("the escape \\{}", c));
        copy(2);
    }
  }

  void unicode_escape() {
    const std::string_view digits = in_.substr(at_ + 2, 4);
    const auto hex = [](char d) { return std::isxdigit(static_cast<unsigned char>(d)) != 0; };
    if (digits.size() != 4 || !std::all_of(digits.begin(), digits.end(), hex))
      refuse("\\u without four hex digits");
    out_ += fmt::format("\\x{{{}}}", digits);
    at_ += 6;
  }

  void property(bool in_class) {
    const size_t end = in_.find('}', at_);
    if (peek(2) != '{' || end == std::string_view::npos) refuse("\\p without {name}");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    bool negated = peek(1) == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const std::string more = newer(name);
    const std::string positive = fmt::format("\\p{{{}}}{}", name, more);
    if (more.empty())
      out_ += fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', name);
    else if (negated && in_class)
      out_ += fmt::format("\\P{{{}}}", name);  // newer characters count as outside
    else
      put_set(positive, negated, in_class);
    at_ = end + 1;
  }

  // The characters of a general category that PCRE2's tables may be too old to know, as the inside of a
  // class.
  static std::string newer(std::string_view category) {
    std::string out;
    if (category.empty() || category.size() > 2) return out;
    for (const NewRange* r = new_ranges_begin(); r != new_ranges_end(); ++r) {
      if (!std::string_view(r->category).starts_with(category)) continue;
      out += fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", r->first, r->last);
    }
    return out;
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_pattern(std::string_view onig_pattern) {
  return Translator(onig_pattern).run();
}

}  // namespace frugal
