#include "cli/cli.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cli/version.h"
#include "core/error.h"
#include "core/interrupted.h"
#include "kernels/dispatch.h"

namespace frugal::cli {
namespace {

// A message is one line, whatever a file name or a library put into it.
int report(std::string message, int code) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  std::fflush(stdout);
  fmt::print(stderr, "frugal: {}\n", message);
  return code;
}

// Buffered output that could not be written (a full disk behind a redirection) is a failure, not a success.
void finish_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fail("cannot write to standard output: {}", std::strerror(errno));
  }
}

}  // namespace

std::string version_line(const Environment& environment) {
  return fmt::format("frugal {} (commit {}, {})", kVersion, kCommit,
                     kernels::select(environment.kernels).name);
}

int run(const std::vector<std::string>& arguments, const Environment& environment) {
  try {
    if (!arguments.empty() && (arguments[0] == "--version" || arguments[0] == "-V")) {
      print(version_line(environment) + "\n");
    } else {
      bool version = false;  // for --help only: the flag is answered above
      parse_and_run(arguments, "Trains and serves DeepSeek-V3-class models on CPUs.", [&](Command& root) {
        root.flag("-V,--version", version, "Version, commit and instruction set");
        for (const Verb& verb : all_verbs()) {
          Command command = root.subcommand(std::string(verb.name), std::string(verb.help));
          verb.declare(command, environment);
        }
      });
    }
    finish_output();
    return 0;
  } catch (const Interrupted& stopped) {
    return report(stopped.what(), 130);
  } catch (const UsageError& error) {
    return report(error.what(), 2);
  } catch (const Error& error) {
    return report(error.what(), 1);
  } catch (const std::system_error& error) {  // no thread to be had, a file that vanished
    return report(error.what(), 1);
  } catch (const std::bad_alloc&) {
    return report("out of memory", 1);
  } catch (const std::exception& error) {
    return report(fmt::format("internal error, please report it: {}", error.what()), 1);
  }
}

void CommonOptions::declare(Command& command, bool reports) {
  command.option("--threads", threads, "Threads to use (default: the CPUs this process may use)");
  if (reports) command.flag("--json", json, "Print one JSON object and nothing else");
  command.flag("--quiet", quiet, "No progress and no warnings on stderr");
}

int CommonOptions::thread_count() const {
  if (!threads) return 0;
  if (*threads < 1 || *threads > ThreadPool::kMaxThreads) {
    fail_usage("--threads {}: expected 1 to {}", *threads, ThreadPool::kMaxThreads);
  }
  return static_cast<int>(*threads);
}

Runtime::Runtime(const CommonOptions& options, const Environment& environment) : environment_(environment) {
  const kernels::Table& table = kernels::select(environment.kernels);
  pool_ = std::make_unique<ThreadPool>(options.thread_count());
  ctx_ = std::make_unique<Context>(Context{*pool_, table});
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) finish_output();
}

void flush() {
  finish_output();
}

void print_json(const Json& value) {
  print(to_text(value) + "\n");
}

void note(const CommonOptions& options, const std::string& text) {
  if (!options.quiet) fmt::print(stderr, "{}\n", text);
}

}  // namespace frugal::cli
