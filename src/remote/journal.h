// What was asked, answered and paid, a line each, appended and never changed: the only truth about money.
//
//   {"event": "ask", "key", "dollars"}              before a request: its worst case
//   {"event": "failed", "key", "dollars", "why"}    it gave nothing; dollars that may have been billed
//   {"event": "answer", "key", "dollars", ...}      what it gave (ask.h); on the disk before anything else
//
// A request without an outcome (the process was killed) counts in full.
#pragma once

#include <map>
#include <string>

#include "core/files.h"
#include "core/json.h"

namespace frugal::remote {

class Journal {
 public:
  // Opens or creates the file and locks it. A last line that was cut short is dropped. Error when another
  // process holds it, or FILE:LINE for a damaged line.
  explicit Journal(const fs::path& file);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // By key, as text: one line of JSON. Of answers that were there, and those appended since.
  const std::map<std::string, std::string>& answers() const { return answers_; }
  double spent() const { return spent_; }  // when it was opened, worst cases of lost requests included

  void asked(const std::string& key, double worst);
  void failed(const std::string& key, double dollars, const std::string& why);
  // `line` is an object with "key"; fsynced.
  void answered(const Json& line);

 private:
  void read(const std::string& text);
  void append(const Json& line, bool sync);
  fs::path path_;
  int file_ = -1;
  std::map<std::string, std::string> answers_;
  double spent_ = 0;
};

}  // namespace frugal::remote
