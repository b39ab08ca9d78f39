// Runs the built program as its users do.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace frugal {

struct Finished {
  int code = 0;  // exit status; 1000 + signal when one ended it
  std::string out, err;
};

// Starts the program; `folder` holds the redirected streams. `variables` are NAME=VALUE.
inline pid_t start_program(const fs::path& folder, const std::vector<std::string>& arguments,
                           const std::string& input = "", const std::vector<std::string>& variables = {}) {
  const fs::path in = folder / "stdin", out = folder / "stdout", err = folder / "stderr";
  write_file_atomically(in, input);
  const pid_t child = fork();
  if (child == 0) {
    const auto redirect = [](const fs::path& path, int flags, int to) {
      const int file = ::open(path.c_str(), flags, 0600);
      if (file < 0 || ::dup2(file, to) < 0) _exit(99);
    };
    redirect(in, O_RDONLY, 0);
    redirect(out, O_WRONLY | O_CREAT | O_TRUNC, 1);
    redirect(err, O_WRONLY | O_CREAT | O_TRUNC, 2);
    for (const std::string& v : variables) ::putenv(const_cast<char*>(v.c_str()));
    std::vector<char*> argv{const_cast<char*>(FRUGAL_PROGRAM)};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    ::alarm(120);
    ::execv(FRUGAL_PROGRAM, argv.data());
    _exit(98);
  }
  return child;
}

inline Finished wait_for_program(pid_t child, const fs::path& folder) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), read_file(folder / "stdout"),
          read_file(folder / "stderr")};
}

inline Finished run_program(const fs::path& folder, const std::vector<std::string>& arguments,
                            const std::string& input = "", const std::vector<std::string>& variables = {}) {
  return wait_for_program(start_program(folder, arguments, input, variables), folder);
}

}  // namespace frugal
