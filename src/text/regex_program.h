// A pattern as operations of a matcher that remembers what it has tried (regex_matcher.h).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/char_set.h"

namespace frugal {

struct RegexOp {
  enum class Kind : uint8_t {
    set,         // a character of sets[a]
    maybe,       // that or nothing, never tried both ways
    star,        // as many of sets[a] as there are, then fewer
    whole_star,  // as many of sets[a] as there are
    split,       // go on at a; failing that, at b
    jump,        // go on at a
    atomic,      // the group that begins at a
    look,        // looks[a] .. looks[b - 1]: one of them holds; none of them (negated)
    place,       // `place` holds here
    accept
  };
  Kind kind = Kind::accept;
  char place = 0;
  bool negated = false;
  int32_t slot = -1;  // of the memory for this operation; -1: it needs none to stay linear
  uint32_t a = 0, b = 0;
};

struct RegexLook {
  uint32_t entry;
  uint32_t back;  // characters to go back first
};

// What can follow an operation: the first bytes, and whether that may be the end of the text.
struct FirstBytes {
  std::array<uint64_t, 4> bytes{};
  bool end = false;
  bool has(unsigned char byte) const { return bytes[byte / 64] >> (byte % 64) & 1; }
};

struct RegexProgram {
  std::vector<CharSet> sets;
  std::vector<RegexOp>
      ops;  // the pattern's own from 0; those of groups that are matched for themselves behind
  std::vector<RegexLook> looks;
  std::vector<FirstBytes> first;  // by operation
  uint32_t own = 0;               // how many are the pattern's own
  uint32_t own_slots = 0, group_slots = 0;
  uint32_t word = 0;  // the set of \w, for \b and \B; past the end of `sets` when it is not asked for
};

// `translated` as translate_pattern() writes it. Error on what cannot be matched in linear time.
RegexProgram compile_regex(std::string_view translated);

}  // namespace frugal
