#include "remote/filter.h"

#include <gtest/gtest.h>

namespace frugal::remote {
namespace {

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
