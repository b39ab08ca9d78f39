#include "text/final_answer.h"

#include <gtest/gtest.h>

namespace frugal {
namespace {

TEST(FinalAnswer, Numbers) {
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
      {"(3)-4", "4"},
      {"40 + 30 = 70. So 1,200 - 7 = 1,193.", "1193"},
      {"3.50 or so.", "3.5"},
      {"$5.00", "5"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"none", ""},
      {"", ""},
      {".", ""},
  };
  for (const auto& [text, number] : cases) EXPECT_EQ(final_number(text), number) << text;
}

TEST(FinalAnswer, Texts) {
  EXPECT_EQ(final_answer("  a\n\t b "), "a b");
  EXPECT_EQ(final_answer("long talk\n#### Paris "), "Paris");
  EXPECT_EQ(final_answer("\\boxed{{a}{b}} then"), "{a}{b}");
  EXPECT_EQ(final_answer("\\boxed{never closed"), "\\boxed{never closed");
}

}  // namespace
}  // namespace frugal
