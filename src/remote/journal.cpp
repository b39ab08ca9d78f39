#include "remote/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace frugal::remote {

Journal::Journal(const fs::path& file) : path_(file) {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) fail("cannot write '{}': {}", path_.string(), std::strerror(errno));
  try {
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0)
      fail("'{}' is in use by another process; wait for it or choose another output", path_.string());
    std::string text = read_file(path_);
    const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
    if (whole < text.size() && ::ftruncate(file_, static_cast<off_t>(whole)) != 0)
      fail("cannot write '{}': {}", path_.string(), std::strerror(errno));
    text.resize(whole);
    read(text);
    sync_directory(path_.parent_path());
  } catch (...) {
    ::close(file_);
    throw;
  }
}

Journal::~Journal() {
  ::close(file_);
}

void Journal::read(const std::string& text) {
  std::map<std::string, std::vector<double>> open;
  int64_t line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = text.find('\n', begin);
    const std::string one = text.substr(begin, end - begin);
    const std::string where = fmt::format("{}:{}", path_.string(), line);
    begin = end + 1;
    const Json json = parse_json(one, where);
    try {
      const auto event = json.at("event").get<std::string>(), key = json.at("key").get<std::string>();
      const auto dollars = json.at("dollars").get<double>();
      if (event == "ask") {
        open[key].push_back(dollars);
        spent_ += dollars;
        continue;
      }
      spent_ += dollars;
      if (std::vector<double>& worst = open[key]; !worst.empty()) {
        spent_ -= worst.back();
        worst.pop_back();
      }
      if (event == "answer") answers_[key] = one;
    } catch (const Json::exception& error) {
      fail("{}: damaged ({}); what was paid for cannot be told without it", where, error.what());
    }
  }
  if (spent_ < 0) spent_ = 0;  // rounding
}

void Journal::append(const Json& line, bool sync) {
  const std::string text = to_text(line) + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t bytes = ::write(file_, text.data() + done, text.size() - done);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) fail("cannot write '{}': {}", path_.string(), std::strerror(errno));
    done += static_cast<size_t>(bytes);
  }
  if (sync && ::fsync(file_) != 0) fail("cannot write '{}': {}", path_.string(), std::strerror(errno));
}

void Journal::asked(const std::string& key, double worst) {
  append({{"event", "ask"}, {"key", key}, {"dollars", worst}}, false);
}

void Journal::failed(const std::string& key, double dollars, const std::string& why) {
  append({{"event", "failed"}, {"key", key}, {"dollars", dollars}, {"why", why}}, false);
}

void Journal::answered(const Json& line) {
  append(line, true);
  answers_[line.at("key").get<std::string>()] = to_text(line);
}

}  // namespace frugal::remote
