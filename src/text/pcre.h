// PCRE2, behind handles.
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string>

namespace frugal::pcre {

template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code, pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data, pcre2_match_data_free>>;

// Compiles for UTF-8 with Unicode properties, "\n" as the end of a line, and ^ and $ at line ends, as Ruby's
// syntax has them. Error that starts with `what`.
Code compile(const std::string& pattern, uint32_t more_options, const std::string& what);

}  // namespace frugal::pcre
