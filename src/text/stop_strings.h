// Ends a stream of text at the first of several stop strings. Bytes that may turn out to be the beginning of
// one are held back until it is clear that they are not, so nothing of a stop string is ever shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace frugal {

class StopStrings {
 public:
  // UsageError for an empty string, which would stop everything.
  explicit StopStrings(std::vector<std::string> stops);
  // Takes the next bytes; returns those that can be shown. After a stop string was found, nothing more.
  std::string push(std::string_view text);
  // What is held back at the end of the stream; empty once a stop string was found.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace frugal
