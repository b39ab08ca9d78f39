// The matcher against PCRE2, which backtracks, and its promise of linear time.
#include "text/regex.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "text/pcre.h"
#include "text/unicode.h"

namespace frugal {
namespace {

struct Found {
  size_t begin, end;
  bool operator==(const Found&) const = default;
};
void PrintTo(const Found& f, std::ostream* out) {
  *out << f.begin << '-' << f.end;
}

// Every match, an empty one being followed by a search one character on.
template <class Find>
std::vector<Found> all_matches(std::string_view text, Find find) {
  std::vector<Found> out;
  for (size_t at = 0; at <= text.size();) {
    const std::optional<Found> found = find(at);
    if (!found) break;
    out.push_back(*found);
    at = found->end;
    if (found->begin < found->end) continue;
    at += at < text.size() ? decode_utf8(text.data() + at, text.data() + text.size()).bytes : 1;
  }
  return out;
}

std::vector<Found> ours(const Regex& regex, std::string_view text) {
  Regex::Matcher matcher(regex);
  matcher.begin(text);
  return all_matches(text, [&](size_t at) -> std::optional<Found> {
    const auto found = matcher.find(at);
    return found ? std::optional(Found{found->begin, found->end}) : std::nullopt;
  });
}

std::vector<Found> reference(const std::string& pattern, std::string_view text) {
  const pcre::Code code = pcre::compile(translate_pattern(pattern), 0, pattern);
  const pcre::MatchData data(pcre2_match_data_create(1, nullptr));
  return all_matches(text, [&](size_t at) -> std::optional<Found> {
    const int result = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, 0,
                                   data.get(), nullptr);
    EXPECT_TRUE(result >= 0 || result == PCRE2_ERROR_NOMATCH) << result;
    if (result < 0) return std::nullopt;
    const size_t* range = pcre2_get_ovector_pointer(data.get());
    return Found{range[0], range[1]};
  });
}

std::string random_text(Rng& rng, size_t longest) {
  static const char* const kPieces[] = {
      "a", "a", "b", "B", "s", "'", "1", " ", " ", "\n", "\xC3\xA9", "\xE4\xB8\xAD", "_", "\xF0\x9F\x99\x82"};
  std::string text;
  for (uint64_t n = rng.below(longest); n > 0; --n) text += kPieces[rng.below(std::size(kPieces))];
  return text;
}

const std::vector<std::string> kPatterns = {
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)",
    R"(\s+$)",
    R"(^\s*|\w+$)",
    R"(\bs\b|\B1)",
    R"((?<=a)b|(?<!\s|ab)a)",
    R"((?>a|ab)b|a)",
    R"((?>\s*a*)b)",
    R"(a.*b|a)",
    R"((?=.*b)a|b)",
    R"((?=(a|b)*1)[ab])",
    R"((?!.*\n)\w)",
    R"(a{2,3}b{0,1}|(?:ab){1,2}?)",
    R"(a+?b|\w*?1)",
    R"((?i)B(?-i:b)|S)",
    R"(|a)",
    R"(\A\w|\s\z)",
    R"([^\n]*)",
    R"(.)",
    R"(\x{4e2d}|\u00e9)",
    R"((a|ab)(1|b1)?)",
    R"([[:alpha:]_]+)",
    R"(\S\s??\S)"};

TEST(Regex, FindsWhatBacktrackingFinds) {
  Rng rng(1);
  for (const std::string& pattern : kPatterns) {
    const Regex regex(pattern);
    for (int i = 0; i < 100; ++i) {
      const std::string text = random_text(rng, 24);
      ASSERT_EQ(ours(regex, text), reference(pattern, text))
          << pattern << " on " << testing::PrintToString(text);
    }
  }
}

// Random patterns. `empty`: whether the pattern may match nothing; such are not repeated without end, where
// engines differ.
class Generator {
 public:
  explicit Generator(uint64_t seed) : rng_(seed) {}
  std::string pattern(int depth, bool& empty) {
    std::string out;
    empty = true;
    const uint64_t ways = 1 + (depth > 0 ? rng_.below(3) : 0);
    for (uint64_t i = 0; i < ways; ++i) {
      if (i > 0) out += '|';
      bool way_empty = true;
      for (uint64_t n = 1 + rng_.below(3); n > 0; --n) {
        bool part_empty = false;
        out += part(depth, part_empty);
        way_empty = way_empty && part_empty;
      }
      empty = i == 0 ? way_empty : empty || way_empty;
    }
    return out;
  }
  Rng& rng() { return rng_; }

 private:
  std::string part(int depth, bool& empty) {
    static const char* const kSets[] = {"a", "b",    "[ab]",     "\\s", "\\p{L}", "\\w",
                                        ".", "[^a]", "\xC3\xA9", "1",   "(?i:b)"};
    static const char* const kPlaces[] = {"^", "$", "\\b", "\\B", "(?<=a)", "(?<![ab]|1a)", "\\z"};
    if (rng_.below(8) == 0) {
      empty = true;
      return kPlaces[rng_.below(std::size(kPlaces))];
    }
    std::string out = kSets[rng_.below(std::size(kSets))];
    empty = false;
    if (depth > 0 && rng_.below(2)) {
      static const char* const kGroups[] = {"(?:", "(?:", "(", "(?>", "(?=", "(?!"};
      const std::string group = kGroups[rng_.below(std::size(kGroups))];
      out = group + pattern(depth - 1, empty) + ")";
      if (group == "(?=" || group == "(?!") {
        empty = true;
        return out;
      }
    }
    static const char* const kRepeats[] = {"",  "",  "?",  "{0,2}", "{2}", "??", "?+",
                                           "*", "+", "*?", "+?",    "*+",  "++", "{1,}"};
    const size_t repeat = rng_.below(empty ? 7 : std::size(kRepeats));
    const std::string suffix = kRepeats[repeat];
    empty = empty || suffix.starts_with('?') || suffix.starts_with('*') || suffix.starts_with("{0");
    return out + suffix;
  }
  Rng rng_;
};

TEST(Regex, FindsWhatBacktrackingFindsByRandomPatterns) {
  Generator generator(7);
  for (int i = 0; i < 4000; ++i) {
    bool empty = false;
    const std::string pattern = generator.pattern(2, empty);
    SCOPED_TRACE(pattern);
    const Regex regex(pattern);
    for (int j = 0; j < 6; ++j) {
      const std::string text = random_text(generator.rng(), 16);
      ASSERT_EQ(ours(regex, text), reference(pattern, text)) << testing::PrintToString(text);
    }
  }
}

uint64_t steps(const Regex& regex, const std::string& text) {
  Regex::Matcher matcher(regex);
  matcher.begin(text);
  all_matches(text, [&](size_t at) -> std::optional<Found> {
    const auto found = matcher.find(at);
    return found ? std::optional(Found{found->begin, found->end}) : std::nullopt;
  });
  return matcher.steps();
}

TEST(Regex, TakesLinearTimeWhateverThePattern) {
  std::vector<std::string> patterns = kPatterns;
  patterns.insert(patterns.end(),
                  {"(a|aa)+$", "(a*)*b", "(a+)+[bc]", "a++[bc]", "(?>a*)[bc]", "(?=.*b)a", "(?=a*[bc])a|a",
                   "(?!a*b)a", "(?>(a|aa)*)1", "(?:a?){20}a{20}b", "(?:|){16}b", "a(?=(?>a+)b)",
                   "(?:a|.*b)a++c", "(a?b?)*c", "\\s*\\s*\\s*b", "(?<=aaaa)b", "(?:.*\n?)*b"});
  const std::string units[] = {"a", " ", "\n", "\xC3\xA9", "aaaaaaaab", "a b", " \n"};
  for (const std::string& pattern : patterns) {
    const Regex regex(pattern);
    for (const std::string& unit : units) {
      std::string text;
      while (text.size() < 4000) text += unit;
      const uint64_t one = steps(regex, text + "!");
      const uint64_t four = steps(regex, text + text + text + text + "!");
      EXPECT_LE(four, 5 * one + 1000) << pattern << " on many " << testing::PrintToString(unit);
    }
  }
}

TEST(Regex, ManyThreadsShareOne) {
  // Each text brings characters of its own pages into the shared tables.
  const Regex regex(R"(\p{L}+|\s)");
  std::vector<std::string> texts;
  for (uint32_t c = 0x100; c < 0x3000; ++c) {
    if (c % 64 == 0) texts.emplace_back();
    append_utf8(texts.back(), c);
  }
  std::vector<std::vector<Found>> expected, found(texts.size());
  for (const std::string& text : texts) expected.push_back(reference(regex.pattern(), text));
  ThreadPool pool(4);
  pool.parallel_for(static_cast<int64_t>(texts.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      found[static_cast<size_t>(i)] = ours(regex, texts[static_cast<size_t>(i)]);
  });
  EXPECT_EQ(found, expected);
}

TEST(Regex, RefusesWhatItCannotBound) {
  const auto error = [](const std::string& pattern, size_t text) -> std::string {
    try {
      const Regex regex(pattern);
      Regex::Matcher(regex).begin(std::string(text, 'a'));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_NE(error("a{9999}b{9999}", 1).find("more than 10000 parts"), std::string::npos)
      << error("a{9999}b{9999}", 1);
  EXPECT_NE(error("(?=(a?)*)b", 1).find("may be empty"), std::string::npos) << error("(?=(a?)*)b", 1);
  EXPECT_NE(error("(?:a+){4000}b", 3'000'000).find("too many parts for a text of 3000000 bytes"),
            std::string::npos);
  EXPECT_EQ(error("(?:a+){4000}b", 3'000), "");
}

}  // namespace
}  // namespace frugal
