// Small corpora and a word-level stand-in for the tokenizer.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/files.h"

namespace frugal {

// A fresh folder of its own for the running test.
inline fs::path fresh_folder() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  const fs::path path = fs::path(testing::TempDir()) / "frugal_data" / info->test_suite_name() / info->name();
  fs::remove_all(path);
  make_directories(path);
  return path;
}

// The message of the Error that `body` throws; a test failure when it throws none.
template <class F>
std::string error_of(F body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return {};
}

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}
#define EXPECT_CONTAINS(text, part) EXPECT_TRUE(contains(text, part)) << text

}  // namespace frugal
