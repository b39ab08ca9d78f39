// A pattern (in PCRE2's syntax, as translate_pattern() writes it) as a tree. What one character must be is
// left to PCRE2: `set` is a pattern of exactly one character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace frugal {

struct RegexNode {
  enum class Kind {
    sequence,      // parts in order
    alternatives,  // the first of parts that leads to a match
    set,           // one character
    repeat,        // parts[0], least to most times
    atomic,        // parts[0], never matched another way once it has matched
    look,          // parts[0] matches from here on (ahead) or up to here; or does not (negated)
    place          // a condition on where we are: ^ $ b B A z
  };
  static constexpr uint32_t kUnbounded = ~uint32_t{0};

  Kind kind = Kind::sequence;
  std::vector<RegexNode> parts;
  std::string set;
  uint32_t least = 0, most = 0;
  bool lazy = false, ahead = false, negated = false;
  char place = 0;
};

// Error, which starts with the pattern, where something means different things in Ruby's syntax and PCRE2's.
RegexNode parse_regex(std::string_view translated);

}  // namespace frugal
