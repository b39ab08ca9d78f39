// The command line: main() reads the environment once and passes it in; every verb is one file and one line
// of the list in cli.cpp. Figures go to stdout, progress to stderr.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/args.h"
#include "core/context.h"
#include "core/json.h"

namespace frugal::cli {

// What the process was given besides its arguments.
struct Environment {
  std::string kernels;  // FRUGAL_KERNELS: forces an instruction set
  std::string ledger;   // FRUGAL_LEDGER: the ledger's file, instead of the one in the user's data directory
  std::string models;   // FRUGAL_MODELS: where pulled models are, instead of the user's data directory
  std::string hf_endpoint;  // HF_ENDPOINT: the model hub
  std::string hf_token;     // HF_TOKEN: sent to that hub and to nobody else
  std::string ca_file;      // SSL_CERT_FILE: certificates of the authorities to trust, not the system's
  std::string home;         // HOME
  std::string data_home;    // XDG_DATA_HOME
  std::string config_home;  // XDG_CONFIG_HOME
  std::string cache_home;   // XDG_CACHE_HOME
  bool error_is_terminal = false;
  bool output_is_terminal = false;
  bool input_is_terminal = false;
};

struct Verb {
  std::string_view name;
  std::string_view help;
  // Adds arguments and the action to `command`.
  void (*declare)(Command& command, const Environment& environment);
};
std::span<const Verb> all_verbs();

// Runs the program: 0 done, 1 failure, 2 wrong usage, 130 stopped by the user. Errors are one line on stderr.
int run(const std::vector<std::string>& arguments, const Environment& environment);

// "frugal 0.1.0 (commit 1234abc, avx2)"
std::string version_line(const Environment& environment);

// Options that every verb takes. `reports` adds --json.
struct CommonOptions {
  std::optional<int64_t> threads;
  bool json = false;
  bool quiet = false;
  void declare(Command& command, bool reports = true);
  // Threads to start; UsageError when the user asked for an impossible number.
  int thread_count() const;
};

// The pool, the kernels and the context that a verb computes with.
class Runtime {
 public:
  Runtime(const CommonOptions& options, const Environment& environment);
  Context& ctx() { return *ctx_; }
  const Environment& environment() const { return environment_; }

 private:
  Environment environment_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Context> ctx_;
};

// To stdout; Error when it cannot be written.
void print(std::string_view text);
void flush();
// A line on stdout that is one JSON object.
void print_json(const Json& value);
// A line of progress or a warning on stderr, unless --quiet.
void note(const CommonOptions& options, const std::string& text);

}  // namespace frugal::cli
