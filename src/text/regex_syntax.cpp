#include "text/regex_syntax.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "core/error.h"
#include "text/unicode.h"

namespace frugal {
namespace {

constexpr int kMaxNesting = 200;
constexpr uint32_t kMaxCount = 65535;

class Parser {
 public:
  explicit Parser(std::string_view pattern) : in_(pattern) {}

  RegexNode run() {
    RegexNode node = alternatives();
    if (at_ < in_.size()) refuse("')' without a group");
    return node;
  }

 private:
  using Kind = RegexNode::Kind;

  [[noreturn]] void refuse(std::string_view what) const {
    fail("pattern {:?}: {} at byte {} is not supported", in_, what, at_);
  }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }

  // Up to the end or to the ')' of the group. (?i) holds to there, across alternatives.
  RegexNode alternatives() {
    if (++nesting_ > kMaxNesting) refuse(fmt::format("nesting deeper than {}", kMaxNesting));
    const bool outer = caseless_;
    RegexNode node{.kind = Kind::alternatives};
    do {
      RegexNode sequence;
      while (at_ < in_.size() && in_[at_] != '|' && in_[at_] != ')') {
        if (take("(?i)")) {
          caseless_ = true;
        } else {
          sequence.parts.push_back(repeated());
        }
      }
      node.parts.push_back(std::move(sequence));
    } while (take("|"));
    caseless_ = outer;
    --nesting_;
    if (node.parts.size() > 1) return node;
    RegexNode only = std::move(node.parts[0]);
    return only;
  }

  RegexNode group() {
    RegexNode node{.kind = Kind::look};
    bool plain = false;
    const bool outer = caseless_;
    if (take("(?=")) {
      node.ahead = true;
    } else if (take("(?!")) {
      node.ahead = node.negated = true;
    } else if (take("(?<!")) {
      node.negated = true;
    } else if (take("(?>")) {
      node.kind = Kind::atomic;
    } else if (!take("(?<=")) {
      plain = true;
      if (take("(?i:")) {
        caseless_ = true;
      } else if (take("(?-i:")) {
        caseless_ = false;
      } else if (!take("(?:") && !take("(")) {
        refuse("this kind of group");
      }
    }
    RegexNode inside = alternatives();
    if (!take(")")) refuse("a group without its end");
    caseless_ = outer;
    if (plain) return inside;
    node.parts.push_back(std::move(inside));
    return node;
  }

  // Something and how often.
  RegexNode repeated() {
    RegexNode node = one();
    while (true) {
      const size_t from = at_;
      uint32_t least = 0, most = RegexNode::kUnbounded;
      if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (!take("*") && !counts(least, most)) {
        return node;
      }
      if (node.kind == Kind::look || node.kind == Kind::place) refuse("a repeat of what takes no character");
      RegexNode repeat{.kind = Kind::repeat, .least = least, .most = most};
      repeat.parts.push_back(std::move(node));
      const bool counted = in_[from] == '{';
      if (counted && least == most && next_is("?")) refuse("'?' after a counted repeat");
      repeat.lazy = take("?");
      const bool possessive = !repeat.lazy && take("+");
      node = possessive ? RegexNode{.kind = Kind::atomic} : std::move(repeat);
      if (possessive) node.parts.push_back(std::move(repeat));
    }
  }

  // {n}, {n,}, {,m} and {n,m}; any other '{' is a character.
  bool counts(uint32_t& least, uint32_t& most) {
    if (!next_is("{")) return false;
    const size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) return false;
    const std::string_view inside = in_.substr(at_ + 1, end - at_ - 1);
    const size_t comma = inside.find(',');
    const auto first = count(inside.substr(0, comma));
    const auto second = comma == std::string_view::npos ? first : count(inside.substr(comma + 1));
    if (!first || !second || (inside.size() <= 1 && comma == 0) || inside.empty()) return false;
    least = *first == RegexNode::kUnbounded ? 0 : *first;
    most = *second;
    if (least > most) refuse("a repeat of more than its most");
    at_ = end + 1;
    return true;
  }
  // Unbounded when there is no digit; none when it is no number.
  std::optional<uint32_t> count(std::string_view digits) const {
    if (digits.empty()) return RegexNode::kUnbounded;
    uint32_t value = 0;
    for (const char c : digits) {
      if (!std::isdigit(static_cast<unsigned char>(c))) return std::nullopt;
      value = value * 10 + static_cast<uint32_t>(c - '0');
      if (value > kMaxCount) refuse(fmt::format("a repeat of more than {}", kMaxCount));
    }
    return value;
  }

  RegexNode one() {
    const char c = in_[at_];
    if (c == '(') return group();
    if (c == '*' || c == '+' || c == '?') refuse("a repeat of nothing");
    if (c == '^' || c == '$') {
      ++at_;
      return {.kind = Kind::place, .place = c};
    }
    if (c == '\\' && at_ + 1 < in_.size() &&
        std::string_view("bBAz").find(in_[at_ + 1]) != std::string_view::npos) {
      at_ += 2;
      return {.kind = Kind::place, .place = in_[at_ - 1]};
    }
    const size_t from = at_;
    if (c == '[') {
      skip_class();
    } else if (c == '\\') {
      skip_escape();
    } else {
      at_ += decode_utf8(in_.data() + at_, in_.data() + in_.size()).bytes;
    }
    RegexNode node{.kind = Kind::set};
    node.set = (caseless_ ? "(?i)" : "") + std::string(in_.substr(from, at_ - from));
    return node;
  }

  void skip_class() {
    for (++at_; at_ < in_.size() && in_[at_] != ']';) {
      if (in_[at_] == '\\') {
        skip_escape();
      } else if (next_is("[:")) {
        at_ = std::min(in_.find(":]", at_), in_.size() - 2) + 2;
      } else {
        ++at_;
      }
    }
    if (!take("]")) refuse("a class without its end");
  }
  void skip_escape() {
    const char kind = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    if ((kind == 'p' || kind == 'P' || kind == 'x') && at_ + 2 < in_.size() && in_[at_ + 2] == '{') {
      at_ = std::min(in_.find('}', at_), in_.size() - 1) + 1;
      return;
    }
    at_ += 2;
    for (int digits = 0;
         kind == 'x' && digits < 2 && at_ < in_.size() && std::isxdigit(static_cast<unsigned char>(in_[at_]));
         ++digits) {
      ++at_;
    }
    at_ = std::min(at_, in_.size());
    while (at_ < in_.size() && (static_cast<unsigned char>(in_[at_]) & 0xC0) == 0x80) ++at_;
  }

  std::string_view in_;
  size_t at_ = 0;
  int nesting_ = 0;
  bool caseless_ = false;
};

}  // namespace

RegexNode parse_regex(std::string_view translated) {
  return Parser(translated).run();
}

}  // namespace frugal
