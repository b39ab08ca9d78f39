#include "text/unicode.h"

#include <gtest/gtest.h>

#include "core/rng.h"
#include "text/byte_alphabet.h"
#include "text/qwen2_split.h"
#include "text/regex.h"

namespace frugal {
namespace {

TEST(Utf8, AcceptsExactlyTheValidSequences) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const DecodedChar d = decode_utf8(text.data(), text.data() + text.size());
    ASSERT_EQ(d.code, c);
    ASSERT_EQ(d.bytes, text.size());
    ASSERT_EQ(incomplete_utf8_tail(text), 0u);
    for (size_t cut = 1; cut < text.size(); ++cut) ASSERT_EQ(incomplete_utf8_tail(text.substr(0, cut)), cut);
  }
  for (const std::string bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE4\xB8", "\xC3("}) {
    EXPECT_EQ(decode_utf8(bad.data(), bad.data() + bad.size()).code, kInvalidChar);
    EXPECT_EQ(valid_utf8_prefix("0123456789" + bad), 10u);
  }
  EXPECT_EQ(invalid_utf8_prefix("\xFF\x80\xE4\xB8\xAD"), 2u);
}

TEST(Utf8, TheByteAlphabetIsABijection) {
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  EXPECT_EQ(alphabet_to_bytes(bytes_to_alphabet(all)), all);
  EXPECT_EQ(bytes_to_alphabet("\n the"), "\xC4\x8A\xC4\xA0the");
  EXPECT_FALSE(alphabet_to_bytes("a b"));
  EXPECT_FALSE(alphabet_to_bytes("\xE4\xB8\xAD"));
}

TEST(Nfc, ComposesAndReorders) {
  EXPECT_EQ(nfc("plain"), "plain");
  EXPECT_EQ(nfc("e\xCC\x81"), "\xC3\xA9");
  EXPECT_EQ(nfc("\xE2\x84\xAB"), "\xC3\x85");                              // the Angstrom sign
  EXPECT_EQ(nfc("a\xCC\x87\xCC\xA3"), "\xE1\xBA\xA1\xCC\x87");             // dot above, dot below
  EXPECT_EQ(nfc("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "\xEA\xB0\x81");  // Hangul
  std::string hostile = "a";  // quadratic where marks are sorted by exchanging neighbours
  for (int i = 0; i < 200'000; ++i) hostile += i % 2 ? "\xCC\x81" : "\xCC\xA3";
  EXPECT_EQ(nfc(hostile).size(), 3 + 99'999 * 2 + 100'000 * 2);
}

// The hand-written matcher against PCRE2, on all characters and on random mixtures that make its alternatives
// compete.
class Qwen2 : public testing::Test {
 protected:
  void compare(const std::string& text) {
    matcher_.begin(text);
    const char* p = text.data();
    const char* const end = p + text.size();
    while (p < end) {
      const auto at = static_cast<size_t>(p - text.data());
      const auto expected = matcher_.find(at);
      ASSERT_TRUE(expected && expected->begin == at) << text;
      const char* next = qwen2_word_end(p, end, char_classes());
      ASSERT_EQ(static_cast<size_t>(next - text.data()), expected->end) << text << " at " << at;
      p = next;
    }
  }
  Regex regex_{kQwen2Pattern};
  Regex::Matcher matcher_{regex_};
};

TEST_F(Qwen2, EqualsTheRegexOnEveryCharacter) {
  std::string all;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string one;
    append_utf8(one, c);
    compare(one + "a " + one + one + "\n" + one + "1" + one + " " + one);
    all += one;
  }
  compare(all);
}

TEST_F(Qwen2, EqualsTheRegexOnRandomText) {
  static const char* const kPieces[] = {"a",
                                        "B",
                                        "\xC3\xA9",
                                        "\xE4\xB8\xAD",
                                        "'",
                                        "s",
                                        "S",
                                        "\xC5\xBF",
                                        "t",
                                        "re",
                                        "VE",
                                        "l",
                                        "L",
                                        "d",
                                        "1",
                                        "\xC2\xBD",
                                        "\xD9\xA3",
                                        " ",
                                        "  ",
                                        "\t",
                                        "\n",
                                        "\r\n",
                                        "\xC2\xA0",
                                        "\xE2\x80\xA8",
                                        "\xE1\xA0\x8E",
                                        "\xE3\x80\x80",
                                        "!",
                                        ".",
                                        "\xCC\x81",
                                        "_",
                                        "\xF0\x9F\x99\x82",
                                        "\xE2\x80\x8B",
                                        "\x01",
                                        "\xC2\x85",
                                        "\x0B"};
  Rng rng(2);
  for (int i = 0; i < 30'000; ++i) {
    std::string text;
    for (uint64_t n = 1 + rng.below(14); n > 0; --n) {
      if (rng.below(12)) {
        text += kPieces[rng.below(std::size(kPieces))];
      } else {
        uint32_t c = static_cast<uint32_t>(rng.below(0x110000));
        if (c >= 0xD800 && c < 0xE000) c = ' ';
        append_utf8(text, c);
      }
    }
    compare(text);
    if (HasFatalFailure()) return;
  }
}

bool found(const Regex& regex, std::string_view text) {
  Regex::Matcher matcher(regex);
  matcher.begin(text);
  return matcher.find(0).has_value();
}

TEST(RegexTranslation, CoversWhereTheEnginesDiffer) {
  EXPECT_EQ(translate_pattern(R"(\s\S[^\s])"), R"(\p{White_Space}\P{White_Space}[^\p{White_Space}])");
  EXPECT_EQ(translate_pattern(R"(\u3040-[a\-z]+)"), R"(\x{3040}-[a\-z]+)");
  Regex space(R"(\s)");
  EXPECT_FALSE(found(space, "\xE1\xA0\x8E")) << "U+180E is no White_Space";
  Regex letter(R"(\p{L})"), no_letter(R"(\P{L})");  // U+1C89, a letter since Unicode 16
  EXPECT_TRUE(found(letter, "\xE1\xB2\x89"));
  EXPECT_FALSE(found(no_letter, "\xE1\xB2\x89"));
}

}  // namespace
}  // namespace frugal
