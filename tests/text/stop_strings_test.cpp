#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace frugal {
namespace {

// Everything shown when `text` arrives in pieces of `size` bytes.
std::string shown(StopStrings stops, const std::string& text, size_t size) {
  std::string out;
  for (size_t i = 0; i < text.size(); i += size) out += stops.push(text.substr(i, size));
  return out + stops.finish();
}

TEST(StopStrings, CutsAtTheFirstHoweverTheTextArrives) {
  const StopStrings stops({"</end>", "\n\n"});
  for (size_t size = 1; size < 12; ++size) {
    EXPECT_EQ(shown(stops, "one</e two</end> three", size), "one</e two") << size;
    EXPECT_EQ(shown(stops, "a\n\nb</end>", size), "a") << size;
    EXPECT_EQ(shown(stops, "tail</en", size), "tail</en") << size;
    EXPECT_EQ(shown(stops, "", size), "");
  }
}

TEST(StopStrings, HoldsBackOnlyWhatMayBecomeAStop) {
  StopStrings stops({"abab"});
  EXPECT_EQ(stops.push("xab"), "x");
  EXPECT_EQ(stops.push("a"), "");
  EXPECT_EQ(stops.push("c"), "abac");
  EXPECT_EQ(stops.push("aba"), "");
  EXPECT_EQ(stops.push("ab"), "aba");  // the last "ab" may still begin a stop
  EXPECT_FALSE(stops.stopped());
  EXPECT_EQ(stops.push("ab"), "");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStrings, NoneMeansNothingIsHeld) {
  StopStrings stops({});
  EXPECT_EQ(stops.push("abc"), "abc");
}

TEST(StopStrings, AnEmptyOneIsAUsageError) {
  EXPECT_THROW(StopStrings({"a", ""}), UsageError);
}

}  // namespace
}  // namespace frugal
