#include "text/final_answer.h"

#include <algorithm>

namespace frugal {
namespace {

constexpr std::string_view kDigits = "0123456789";

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string_view boxed(std::string_view text) {
  constexpr std::string_view kBoxed = "\\boxed{";
  const size_t at = text.rfind(kBoxed);
  if (at == std::string_view::npos) return {};
  const size_t begin = at + kBoxed.size();
  int depth = 1;
  for (size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return text.substr(begin, i - begin);
  }
  return {};
}

bool digits_at(std::string_view text, size_t at, size_t count) {
  if (at + count > text.size()) return false;
  return std::ranges::all_of(text.substr(at, count), is_digit);
}

// Whether a minus ends `before`. A hyphen behind a letter, a digit or a closing bracket is
// no sign.
bool is_negated(std::string_view before) {
  constexpr std::string_view kMinus = "\u2212";
  if (before.ends_with('-')) {
    before.remove_suffix(1);
  } else if (before.ends_with(kMinus)) {
    before.remove_suffix(kMinus.size());
  } else {
    return false;
  }
  const char c = before.empty() ? ' ' : before.back();
  return !is_digit(c) && c != ')' && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

// The number whose first digit stands at `at`, which becomes its end: digits, groups of three behind commas,
// a point.
std::string read_number(std::string_view text, size_t& at) {
  const size_t begin = at;
  std::string whole, fraction;
  while (digits_at(text, at, 1)) whole += text[at++];
  if (whole.size() <= 3) {
    while (at < text.size() && text[at] == ',' && digits_at(text, at + 1, 3) && !digits_at(text, at + 4, 1)) {
      whole += text.substr(at + 1, 3);
      at += 4;
    }
  }
  if (at < text.size() && text[at] == '.' && digits_at(text, at + 1, 1)) {
    for (++at; digits_at(text, at, 1); ++at) fraction += text[at];
  }
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size() - 1));
  while (fraction.ends_with('0')) fraction.pop_back();
  const std::string number = fraction.empty() ? whole : whole + "." + fraction;
  return number != "0" && is_negated(text.substr(0, begin)) ? "-" + number : number;
}

}  // namespace

std::string final_answer(std::string_view text) {
  std::string_view part = boxed(text);
  if (part.empty()) {
    const size_t at = text.rfind("####");
    part = at == std::string_view::npos ? text : text.substr(at + 4);
  }
  std::string out;
  for (const char c : part) {
    if (!is_space(c)) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string final_number(std::string_view text) {
  const std::string answer = final_answer(text);
  std::string last;
  for (size_t at = answer.find_first_of(kDigits); at != std::string::npos;
       at = answer.find_first_of(kDigits, at)) {
    last = read_number(answer, at);
  }
  return last;
}

}  // namespace frugal
