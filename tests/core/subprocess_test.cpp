#include "core/subprocess.h"

#include <gtest/gtest.h>

#include <chrono>

#include "core/error.h"

namespace frugal {
namespace {

std::string error_of(const std::vector<std::string>& arguments, double seconds = 30) {
  try {
    run_subprocess(arguments, "x\n", seconds);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Subprocess, ReadsAndWritesMoreThanASocketHolds) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += std::to_string(i) + "\n";
  EXPECT_EQ(run_subprocess({"cat"}, text, 30), text);
  EXPECT_EQ(run_subprocess({"sh", "-c", "wc -c"}, "abc", 30), "3\n");
  EXPECT_EQ(run_subprocess({"cat"}, "", 30), "");
}

TEST(Subprocess, MayLeaveItsInputUnread) {
  EXPECT_EQ(run_subprocess({"sh", "-c", "echo 1"}, std::string(4 << 20, 'x'), 30), "1\n");
}

TEST(Subprocess, FailuresAreNamed) {
  EXPECT_NE(error_of({"/nonexistent/judge"}).find("cannot start /nonexistent/judge"), std::string::npos);
  EXPECT_NE(error_of({"sh", "-c", "exit 3"}).find("ended with status 3"), std::string::npos);
  EXPECT_NE(error_of({"sh", "-c", "kill -9 $$"}).find("ended by signal 9"), std::string::npos);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(error_of({"sh", "-c", "sleep 60 & sleep 60"}, 0.05).find("has not ended after 0.05 seconds"),
            std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

}  // namespace
}  // namespace frugal
