// Three kinds of failure (docs/tour.md): bad input throws Error with a message for people; a broken contract
// throws from CHECK, which is always on; inner loops use DCHECK, which is off in release builds.
#pragma once

#include <fmt/core.h>

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace frugal {

// Bad input: a file, recipe, request or machine that is not what was expected. The message says what, where,
// what was expected and what to do. The command line exits with 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The command or recipe itself is wrong (unknown key, impossible value). The command line exits with 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

template <class... T>
[[noreturn]] void fail(fmt::format_string<T...> format, T&&... args) {
  throw Error(fmt::format(format, std::forward<T>(args)...));
}

template <class... T>
[[noreturn]] void fail_usage(fmt::format_string<T...> format, T&&... args) {
  throw UsageError(fmt::format(format, std::forward<T>(args)...));
}

namespace detail {
[[noreturn]] void check_failed(const char* condition, const std::string& message, std::source_location where);
}

// Always on: throws std::logic_error naming the place. CHECK(cond) or CHECK(cond, "format {}", value).
#define CHECK(condition, ...)                                                            \
  do {                                                                                   \
    if (!(condition)) [[unlikely]]                                                       \
      ::frugal::detail::check_failed(#condition, ::frugal::detail::message(__VA_ARGS__), \
                                     std::source_location::current());                   \
  } while (false)

#ifdef NDEBUG
#define DCHECK(condition, ...) ((void)0)
#else
#define DCHECK(condition, ...) CHECK(condition __VA_OPT__(, ) __VA_ARGS__)
#endif

namespace detail {
inline std::string message() {
  return {};
}
template <class... T>
std::string message(fmt::format_string<T...> format, T&&... args) {
  return fmt::format(format, std::forward<T>(args)...);
}
}  // namespace detail

// "did you mean" help: the candidate nearest to `name` by edit distance, or an empty view when none is near.
std::string_view nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace frugal
