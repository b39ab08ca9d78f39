// How verbs declare their arguments. A thin face of CLI11, which stays in args.cpp: verbs compile without it,
// and every mistake of a user becomes one UsageError with the nearest known name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace frugal::cli {

// A verb or a sub-verb. Values bound here must outlive the parse; verbs keep them in a shared struct that
// their action captures.
class Command {
 public:
  Command(void* app, std::function<void()>* chosen) : app_(app), chosen_(chosen) {}

  Command subcommand(const std::string& name, const std::string& help);
  void positional(const std::string& name, std::string& value, const std::string& help, bool required = true);
  void positional(const std::string& name, std::vector<std::string>& values, const std::string& help);
  // `flags` as in "-p,--prompt". A default shown by --help is the value at the time of the call.
  void option(const std::string& flags, std::string& value, const std::string& help);
  void option(const std::string& flags, int64_t& value, const std::string& help);
  void option(const std::string& flags, uint64_t& value, const std::string& help);
  void option(const std::string& flags, double& value, const std::string& help);
  void option(const std::string& flags, std::optional<std::string>& value, const std::string& help);
  void option(const std::string& flags, std::optional<int64_t>& value, const std::string& help);
  void option(const std::string& flags, std::optional<double>& value, const std::string& help);
  void option(const std::string& flags, std::optional<uint64_t>& value, const std::string& help);
  void option(const std::string& flags, std::vector<std::string>& values,
              const std::string& help);  // repeatable
  void required_option(const std::string& flags, std::string& value, const std::string& help);
  void flag(const std::string& flags, bool& value, const std::string& help);
  // Text below the options in --help.
  void footer(const std::string& text);
  // Runs when this command was chosen.
  void action(std::function<void()> run);

 private:
  void* app_;  // CLI::App
  std::function<void()>* chosen_;
};

// Parses `arguments` (without the program's name) against what `declare` adds to the root command, then runs
// the chosen action. --help goes to stdout. UsageError when the arguments are wrong.
void parse_and_run(const std::vector<std::string>& arguments, const std::string& about,
                   const std::function<void(Command&)>& declare);

}  // namespace frugal::cli
