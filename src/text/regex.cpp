#include "text/regex.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/error.h"
#include "text/pcre.h"
#include "text/regex_program.h"

namespace frugal {
namespace {

constexpr size_t kMaxPattern = 64 << 10;
constexpr uint64_t kMaxMemory = 1 << 30;
constexpr size_t kNone = std::numeric_limits<size_t>::max();

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

}  // namespace

struct Regex::Code {
  RegexProgram program;
};

Regex::Regex(std::string_view onig_pattern) : pattern_(onig_pattern) {
  if (pattern_.size() > kMaxPattern)
    fail("pattern of {} bytes; at most {} are accepted", pattern_.size(), kMaxPattern);
  const std::string translated = translate_pattern(pattern_);
  pcre::compile(translated, 0, fmt::format("pattern {:?}", pattern_));  // it says best what is wrong
  code_ = std::make_unique<Code>(Code{compile_regex(translated)});
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

// What is remembered, by slot of an operation and place in the text. For the pattern's own operations a bit:
// tried, in vain. For groups that are matched for themselves (looks, atomic groups) where the match ends:
// those are asked from many places that lead to the same.
class Regex::Matcher::State {
 public:
  explicit State(const Regex& regex) : regex_(regex), program_(regex.code_->program) {}

  void begin(std::string_view text) {
    text_ = text;
    if (const uint64_t places = text.size() + 1;
        text.size() >= std::numeric_limits<uint32_t>::max() / 2 ||
        program_.own_slots * places / 8 + program_.group_slots * places * 4 > kMaxMemory) {
      fail("pattern {:?} has too many parts for a text of {} bytes", regex_.pattern_, text.size());
    }
    forget();
  }

  std::optional<Match> find(size_t start) {
    if (start < searched_) forget();
    for (size_t at = start; at <= text_.size(); at = after(at)) {
      if (!may_go_on(0, at)) continue;
      const size_t end = run(0, at);
      if (end == kNone) continue;
      // What led to this match can lead to another from here.
      for (uint32_t slot = 0; !tried_.empty() && slot < program_.own_slots; ++slot) {
        const uint64_t i = index(slot, end);
        tried_[i / 64] &= ~(uint64_t{1} << (i % 64));
      }
      searched_ = end;
      return Match{at, end};
    }
    searched_ = text_.size();
    return std::nullopt;
  }

  uint64_t steps() const { return steps_; }

 private:
  using Kind = RegexOp::Kind;
  // A way not gone yet. For stars: at most up to `at`, at least `from`.
  struct Branch {
    uint32_t op;
    size_t at, from, trail;
  };
  // Places that led to where the group's match is now.
  struct Trail {
    int32_t slot;
    size_t from, to;
  };
  static constexpr uint32_t kUnknown = 0, kInVain = 1, kEnd = 2;  // kEnd + e: matches up to e

  void forget() {
    searched_ = 0;
    tried_.clear();
    ends_.clear();
  }
  size_t after(size_t at) const {
    do ++at;
    while (at < text_.size() && is_continuation(text_[at]));
    return at;
  }
  size_t before(size_t at) const {
    do --at;
    while (is_continuation(text_[at]));
    return at;
  }
  uint64_t index(int64_t slot, size_t at) const {
    return static_cast<uint64_t>(slot) * (text_.size() + 1) + at;
  }
  bool may_go_on(uint32_t op, size_t at) const {
    const FirstBytes& first = program_.first[op];
    return at < text_.size() ? first.has(static_cast<unsigned char>(text_[at])) : first.end;
  }
  size_t match(uint32_t set, size_t at) const { return program_.sets[set].match(text_, at); }

  // What is known of an operation at a place; from now on it is tried.
  uint32_t try_own(int32_t slot, size_t at) {
    if (tried_.empty()) tried_.resize(index(program_.own_slots, 0) / 64 + 1);
    const uint64_t i = index(slot, at), bit = uint64_t{1} << (i % 64);
    const bool known = tried_[i / 64] & bit;
    tried_[i / 64] |= bit;
    return known ? kInVain : kUnknown;
  }
  uint32_t& end_of(int32_t slot, size_t at) {
    if (ends_.empty()) ends_.resize(index(program_.group_slots, 0));
    return ends_[index(slot, at)];
  }
  uint32_t try_in_group(int32_t slot, size_t at) {
    uint32_t& known = end_of(slot, at);
    if (known != kUnknown) return known;
    known = kInVain;
    return kUnknown;
  }

  // Where the match ends that begins at `at` with the operation `op`, or kNone.
  size_t run(uint32_t op, size_t at) {
    const bool own = op < program_.own;
    const size_t branches = branches_.size(), trails = trail_.size();
    size_t end = kNone;
    while (!advance(op, at, own, end) && branches_.size() > branches) back_up(op, at);
    if (!own && end != kNone) {
      for (size_t i = trails; i < trail_.size(); ++i) {
        for (size_t p = trail_[i].from; p <= trail_[i].to; ++p)
          end_of(trail_[i].slot, p) = kEnd + static_cast<uint32_t>(end);
      }
    }
    branches_.resize(branches);
    trail_.resize(trails);
    return end;
  }

  // The branch made last; it stays while there is more to it.
  void back_up(uint32_t& op, size_t& at) {
    Branch& last = branches_.back();
    trail_.resize(last.trail);
    op = last.op;
    if (last.from == kNone) {
      at = last.at;
      branches_.pop_back();
      return;
    }
    at = last.at = before(last.at);
    if (program_.ops[op].slot >= 0 && op >= program_.own) trail_.back().to = at;
    ++op;
    if (at == last.from) branches_.pop_back();
  }

  // Goes on until the match is complete (`end` is set) or cannot be completed this way.
  bool advance(uint32_t op, size_t at, bool own, size_t& end) {
    while (true) {
      ++steps_;
      const RegexOp& o = program_.ops[op];
      switch (o.kind) {
        case Kind::set: {
          const size_t bytes = match(o.a, at);
          if (!bytes) return false;
          at += bytes;
          ++op;
          break;
        }
        case Kind::maybe:
          at += match(o.a, at);
          ++op;
          break;
        case Kind::star:
          if (const uint32_t known = star(op, at, own); known != kUnknown) return finish(known, end);
          ++op;
          break;
        case Kind::whole_star:
          at = whole_star(o, at);
          ++op;
          break;
        case Kind::split: {
          if (o.slot >= 0) {
            if (const uint32_t known = own ? try_own(o.slot, at) : try_in_group(o.slot, at);
                known != kUnknown)
              return finish(known, end);
            if (!own) trail_.push_back({o.slot, at, at});
          }
          const bool first = may_go_on(o.a, at), second = may_go_on(o.b, at);
          if (!first && !second) return false;
          if (first && second) branches_.push_back({o.b, at, kNone, trail_.size()});
          op = first ? o.a : o.b;
          break;
        }
        case Kind::jump:
          op = o.a;
          break;
        case Kind::atomic:
          at = run(o.a, at);
          if (at == kNone) return false;
          ++op;
          break;
        case Kind::look:
          if (looks(o, at) == o.negated) return false;
          ++op;
          break;
        case Kind::place:
          if (!is_at(o.place, at)) return false;
          ++op;
          break;
        case Kind::accept:
          end = at;
          return true;
      }
    }
  }
  static bool finish(uint32_t known, size_t& end) {
    if (known == kInVain) return false;
    end = known - kEnd;
    return true;
  }

  // Takes as many as there are. A place that was come to before ends the star: what follows from there is
  // known.
  uint32_t star(uint32_t op, size_t& at, bool own) {
    const RegexOp& o = program_.ops[op];
    const size_t from = at;
    uint32_t known = kUnknown;
    const auto look_up = [&] {
      if (o.slot >= 0) known = own ? try_own(o.slot, at) : try_in_group(o.slot, at);
      return known == kUnknown;
    };
    if (!look_up()) return known;
    while (const size_t bytes = match(o.a, at)) {
      ++steps_;
      at += bytes;
      if (!look_up()) break;
    }
    if (known != kUnknown) at = before(at);
    if (o.slot >= 0 && !own) trail_.push_back({o.slot, from, at});
    if (known >= kEnd) return known;
    if (o.slot >= 0 && at > from) branches_.push_back({op, at, from, trail_.size()});
    return kUnknown;
  }

  size_t whole_star(const RegexOp& o, size_t at) {
    const size_t from = at;
    if (o.slot < 0) {
      while (const size_t bytes = match(o.a, at)) ++steps_, at += bytes;
      return at;
    }
    size_t end = kNone;
    while (end == kNone) {
      ++steps_;
      if (const uint32_t known = end_of(o.slot, at); known != kUnknown) {
        end = known - kEnd;
      } else if (const size_t bytes = match(o.a, at)) {
        at += bytes;
      } else {
        end = at;
      }
    }
    for (size_t p = from; p <= at; ++p) end_of(o.slot, p) = kEnd + static_cast<uint32_t>(end);
    return end;
  }

  bool looks(const RegexOp& o, size_t at) {
    for (uint32_t i = o.a; i < o.b; ++i) {
      const RegexLook& look = program_.looks[i];
      size_t from = at;
      uint32_t back = look.back;
      for (; back > 0 && from > 0; --back) from = before(from);
      if (back == 0 && run(look.entry, from) != kNone) return true;
    }
    return false;
  }

  bool is_at(char place, size_t at) const {
    const auto word = [&](size_t i) { return match(program_.word, i) > 0; };
    switch (place) {
      case '^':
        return at == 0 || (at < text_.size() && text_[at - 1] == '\n');
      case '$':
        return at == text_.size() || text_[at] == '\n';
      case 'A':
        return at == 0;
      case 'z':
        return at == text_.size();
      default:  // b, B
        return ((at > 0 && word(before(at))) != word(at)) == (place == 'b');
    }
  }

  const Regex& regex_;
  const RegexProgram& program_;
  std::string_view text_;
  size_t searched_ = 0;
  uint64_t steps_ = 0;
  std::vector<uint64_t> tried_;
  std::vector<uint32_t> ends_;
  std::vector<Branch> branches_;
  std::vector<Trail> trail_;
};

Regex::Matcher::Matcher(const Regex& regex) : state_(std::make_unique<State>(regex)) {}
Regex::Matcher::~Matcher() = default;
Regex::Matcher::Matcher(Matcher&&) noexcept = default;
void Regex::Matcher::begin(std::string_view text) {
  state_->begin(text);
}
std::optional<Regex::Match> Regex::Matcher::find(size_t start) {
  return state_->find(start);
}
uint64_t Regex::Matcher::steps() const {
  return state_->steps();
}

}  // namespace frugal
