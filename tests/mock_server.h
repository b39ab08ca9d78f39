// A server on loopback for a test (mock_server.py), with files, faults and a record of the requests.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace frugal {

class MockServer {
 public:
  enum class Scheme { http, https };  // https: with the certificate of tests/golden/tls
  explicit MockServer(const fs::path& folder, Scheme scheme = Scheme::http)
      : folder_(folder), scheme_(scheme) {
    fs::create_directories(folder / "files");
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) fail("no pipes for the server");
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      const std::string script = std::string(FRUGAL_SOURCE_DIR) + "/tests/mock_server.py";
      const std::string certificate = std::string(FRUGAL_SOURCE_DIR) + "/tests/golden/tls/server.pem";
      ::execlp(FRUGAL_PYTHON, FRUGAL_PYTHON, script.c_str(), folder.c_str(),
               scheme == Scheme::https ? certificate.c_str() : nullptr, nullptr);
      _exit(98);
    }
    ::close(in[0]);
    ::close(out[1]);
    input_ = in[1];
    std::string line;
    char c = 0;
    while (::read(out[0], &c, 1) == 1 && c != '\n') line += c;
    ::close(out[0]);
    if (line.empty()) fail("the server did not start");
    port_ = line;
  }
  ~MockServer() {
    ::close(input_);  // the server ends at the end of its input
    ::waitpid(child_, nullptr, 0);
  }
  MockServer(const MockServer&) = delete;
  MockServer& operator=(const MockServer&) = delete;

  // "localhost" and "127.0.0.1" are two hosts to a client.
  std::string url(const std::string& path = "", const std::string& host = "127.0.0.1") const {
    return (scheme_ == Scheme::https ? "https://" : "http://") + host + ":" + port_ + path;
  }
  void add(const std::string& path, const std::string& content) const {
    const fs::path file = folder_ / "files" / path;
    fs::create_directories(file.parent_path());
    write_file_atomically(file, content);
  }
  void faults(const Json& faults) const { write_json_file(folder_ / "faults.json", faults); }
  // Since the last call.
  std::vector<Json> requests() {
    std::vector<Json> out;
    if (!fs::exists(folder_ / "requests.jsonl")) return out;
    std::istringstream lines(read_file(folder_ / "requests.jsonl"));
    size_t n = 0;
    for (std::string line; std::getline(lines, line);) {
      if (n++ >= seen_) out.push_back(parse_json(line, "requests.jsonl"));
    }
    seen_ = n;
    return out;
  }

 private:
  fs::path folder_;
  Scheme scheme_;
  std::string port_;
  pid_t child_ = -1;
  int input_ = -1;
  size_t seen_ = 0;
};

}  // namespace frugal
