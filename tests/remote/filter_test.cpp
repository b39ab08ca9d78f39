#include "remote/filter.h"

#include <gtest/gtest.h>

namespace frugal::remote {
namespace {

TEST(RemoteFilter, FinalNumbers) {
  const std::pair<const char*, const char*> cases[] = {
      {"so 3 + 4 = 7.", "7"},
      {"#### 1,234,567", "1234567"},
      {"x = \\boxed{-0.50} as 2 shows", "-0.5"},
      {"\\boxed{\\frac{1}{2}} or \\boxed{x_{12}}", "12"},
      {"答案是 42。", "42"},
      {"\u22121,234.50", "-1234.5"},
      {"1, 2, 3", "3"},
      {"1,23", "23"},
      {"1234,567", "567"},
      {"12,3456", "3456"},
      {"version 1.2.3", "3"},
      {"007", "7"},
      {"-0", "0"},
      {"0.0", "0"},
      {"COVID-19", "19"},
      {"5-3", "3"},
      {"is -3", "-3"},
      {"$5.00", "5"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"none", ""},
      {"", ""},
      {".", ""},
  };
  for (const auto& [text, number] : cases) EXPECT_EQ(final_number(text), number) << text;
}

TEST(RemoteFilter, FinalAnswers) {
  EXPECT_EQ(final_answer("  a\n\t b "), "a b");
  EXPECT_EQ(final_answer("long talk\n#### Paris "), "Paris");
  EXPECT_EQ(final_answer("\\boxed{{a}{b}} then"), "{a}{b}");
  EXPECT_EQ(final_answer("\\boxed{never closed"), "\\boxed{never closed");
}

TEST(RemoteFilter, RepetitionInAnyScript) {
  const std::string varied = "Each of these words is here once, which makes a sentence of some length.";
  EXPECT_EQ(repeated_share(varied), 0);
  EXPECT_EQ(repeated_share("short short short"), 0);
  std::string loop, chinese;
  for (int i = 0; i < 50; ++i) {
    loop += "I think that ";
    chinese += "我认为如此。";
  }
  EXPECT_GT(repeated_share(loop), 0.9);
  EXPECT_GT(repeated_share(chinese), 0.9);
  EXPECT_GT(repeated_share(std::string(1000, '\xff')), 0.9);  // not even UTF-8
}

TEST(RemoteFilter, Reasons) {
  FilterOptions options;
  const std::string reference = "7";
  const auto reason = [&](std::string_view text, std::string_view finish = "stop",
                          std::string_view refusal = "") {
    return reason_to_drop({text, finish, refusal, &reference}, options);
  };
  EXPECT_EQ(reason("8"), "");
  EXPECT_EQ(reason("8", "length"), "unfinished");
  EXPECT_EQ(reason("8", "content_filter"), "unfinished");
  EXPECT_EQ(reason("", "stop", "I cannot"), "refused");
  EXPECT_EQ(reason(" \n"), "empty");
  options.finished = false;
  EXPECT_EQ(reason("8", "length"), "");
  options.min_chars = 3;
  options.max_chars = 4;
  EXPECT_EQ(reason("日本"), "short");
  EXPECT_EQ(reason("日本語"), "");
  EXPECT_EQ(reason("日本語です"), "long");
  options = {};
  EXPECT_EQ(reason(std::string(100, 'a')), "repetitive");
  options.repetition = 1;
  EXPECT_EQ(reason(std::string(100, 'a')), "");
  options.answer = "numeric";
  EXPECT_EQ(reason("3 + 4 = 7.0"), "");
  EXPECT_EQ(reason("3 + 4 = 8"), "wrong");
  EXPECT_EQ(reason("no idea"), "wrong");
  EXPECT_EQ(reason_to_drop({"no idea", "stop", "", nullptr}, options), "");
  options.answer = "exact";
  EXPECT_EQ(reason("#### 7"), "");
  EXPECT_EQ(reason("#### 7.0"), "wrong");
}

}  // namespace
}  // namespace frugal::remote
