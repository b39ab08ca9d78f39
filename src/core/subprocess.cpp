#include "core/subprocess.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/error.h"

extern char** environ;

namespace frugal {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  void close() {
    if (value_ >= 0) ::close(value_);
    value_ = -1;
  }

 private:
  int value_;
};

// A child in a process group of its own; killed and waited for when nobody has waited for it.
class Child {
 public:
  // `theirs`: the end of a socket that becomes its standard input and output.
  Child(const std::vector<std::string>& arguments, int theirs) {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, theirs, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, theirs, STDOUT_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    const int error = posix_spawnp(&id_, argv[0], &actions, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) fail("cannot start {}: {}", arguments[0], std::strerror(error));
  }
  ~Child() {
    if (id_ <= 0) return;
    kill(-id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Its status once it has ended; -1 before.
  int status_if_ended() {
    int status = 0;
    if (waitpid(id_, &status, WNOHANG) != id_) return -1;
    id_ = 0;
    return status;
  }

 private:
  pid_t id_ = 0;
};

}  // namespace

std::string run_subprocess(const std::vector<std::string>& arguments, std::string_view input,
                           double seconds) {
  CHECK(!arguments.empty());
  // A socket and not pipes: writing to a program that reads no more is then an error and no signal.
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    fail("cannot start {}: {}", arguments[0], std::strerror(errno));
  }
  Descriptor ours(ends[0]), theirs(ends[1]);
  Child child(arguments, theirs.get());
  theirs.close();
  const std::string name = fmt::format("{}", fmt::join(arguments, " "));
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  const auto require_time = [&] {
    if (std::chrono::steady_clock::now() < end) return;
    fail("{}: it has not ended after {} seconds", name, seconds);
  };
  std::string output;
  size_t written = 0;
  bool writing = true, reading = true;
  while (reading) {
    if (writing && written == input.size()) {
      shutdown(ours.get(), SHUT_WR);
      writing = false;
    }
    pollfd wait{ours.get(), static_cast<short>(POLLIN | (writing ? POLLOUT : 0)), 0};
    poll(&wait, 1, 100);
    require_time();
    if (writing && (wait.revents & POLLOUT) != 0) {
      const ssize_t n =
          send(ours.get(), input.data() + written, input.size() - written, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) written += static_cast<size_t>(n);
      if (n < 0 && errno != EAGAIN && errno != EINTR) writing = false;  // it reads no more
    }
    if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      char buffer[1 << 16];
      const ssize_t n = recv(ours.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (n > 0) output.append(buffer, static_cast<size_t>(n));
      const bool again = n < 0 && (errno == EAGAIN || errno == EINTR);
      if (n <= 0 && !again) reading = false;
    }
  }
  int status = child.status_if_ended();
  for (; status < 0; status = child.status_if_ended()) {
    require_time();
    poll(nullptr, 0, 1);
  }
  if (WIFSIGNALED(status)) fail("{}: ended by signal {}", name, WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) fail("{}: ended with status {}", name, WEXITSTATUS(status));
  return output;
}

}  // namespace frugal
