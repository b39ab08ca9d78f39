// Pre-tokenisation patterns. They are written for Oniguruma in Ruby's syntax (what HF tokenizers uses) and
// matched as that does: the leftmost match, of the first alternative that leads to one. Whatever the pattern,
// the time is linear in the text: the matcher tries alternatives one after the other, as backtracking engines
// do, and remembers what led nowhere (memoisation; Ford, "Packrat Parsing", 2002). A construct that we cannot
// translate is an Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace frugal {

class Regex {
 public:
  // Error naming the pattern when it does not compile or uses what we cannot translate.
  explicit Regex(std::string_view onig_pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  struct Match {
    size_t begin, end;
  };
  // Matches in one text at a time, for one thread; make one per encode call.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(Matcher&&) noexcept;
    // `text`: valid UTF-8 that stays as it is while it is searched. Error when the pattern has so many parts
    // that matching it would take more than 1 GiB.
    void begin(std::string_view text);
    // The first match at or after `start`, a character's beginning or the text's end. In linear time for all
    // calls together whose `start` is not before the match found last.
    std::optional<Match> find(size_t start);
    // Operations carried out so far.
    uint64_t steps() const;

   private:
    class State;
    std::unique_ptr<State> state_;
  };

  const std::string& pattern() const { return pattern_; }

 private:
  struct Code;
  std::string pattern_;
  std::unique_ptr<Code> code_;
};

// The PCRE2 form of an Oniguruma pattern. Exposed for tests.
std::string translate_pattern(std::string_view onig_pattern);

}  // namespace frugal
