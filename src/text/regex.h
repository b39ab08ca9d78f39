// Pre-tokenisation patterns. They are written for Oniguruma in Ruby's syntax (what HF tokenizers uses) and
// translated to PCRE2, construct by construct; a construct that means something else there, or nothing, is an
// Error.
#pragma once

#include <cstddef>
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
  // Match data of one thread; make one per encode call.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(Matcher&&) noexcept;
    // The first match at or after `start` in valid UTF-8. Error when the pattern takes absurdly long.
    std::optional<Match> find(std::string_view text, size_t start);

   private:
    struct State;
    const Regex* regex_;
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
