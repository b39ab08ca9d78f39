#include "cli/args.h"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "core/error.h"

namespace frugal::cli {
namespace {

CLI::App& app_of(void* app) {
  return *static_cast<CLI::App*>(app);
}

template <class T>
void add_option(void* app, const std::string& flags, T& value, const std::string& help) {
  app_of(app)
      .add_option(flags, value, help)
      ->capture_default_str()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

template <class T>
void add_optional(void* app, const std::string& flags, std::optional<T>& value, const std::string& help) {
  app_of(app)
      .add_option_function<T>(
          flags, [&value](const T& given) { value = given; }, help)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

// "--text=" gives an empty text: CLI11 takes it for a missing one, unless it stands apart.
std::vector<std::string> with_empty_values(const std::vector<std::string>& arguments) {
  std::vector<std::string> out;
  bool options = true;  // until "--"
  for (const std::string& argument : arguments) {
    options = options && argument != "--";
    const bool empty = options && argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    out.push_back(empty ? argument.substr(0, argument.size() - 1) : argument);
    if (empty) out.emplace_back();
  }
  return out;
}

// The command that was being parsed: the deepest chosen one.
const CLI::App& innermost(const CLI::App& root) {
  const CLI::App* app = &root;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return *app;
}

std::string full_name(const CLI::App& app) {
  return app.get_parent() == nullptr ? "frugal" : full_name(*app.get_parent()) + " " + app.get_name();
}

// Help for an argument that nothing takes: the nearest verb or option.
std::string unexpected(const CLI::App& app, const std::string& given) {
  std::vector<std::string> known;
  std::string kind = "argument";
  if (given.starts_with("-")) {
    kind = "option";
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  } else if (!app.get_subcommands([](const CLI::App*) { return true; }).empty()) {
    kind = "verb";
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
      known.push_back(verb->get_name());
    }
  }
  const std::string name = given.substr(0, given.find('='));
  const std::string_view near = nearest_name(name, known);
  const std::string hint = near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near);
  return fmt::format("unknown {} '{}'{}", kind, name, hint);
}

}  // namespace

Command Command::subcommand(const std::string& name, const std::string& help) {
  CLI::App* app = app_of(app_).add_subcommand(name, help)->group("Verbs");
  return {app, chosen_};
}
void Command::positional(const std::string& name, std::string& value, const std::string& help,
                         bool required) {
  app_of(app_).add_option(name, value, help)->required(required);
}
void Command::positional(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  app_of(app_).add_option(name, values, help)->required();
}
void Command::option(const std::string& flags, std::string& value, const std::string& help) {
  add_option(app_, flags, value, help);
}
void Command::option(const std::string& flags, int64_t& value, const std::string& help) {
  add_option(app_, flags, value, help);
}
void Command::option(const std::string& flags, uint64_t& value, const std::string& help) {
  add_option(app_, flags, value, help);
}
void Command::option(const std::string& flags, double& value, const std::string& help) {
  add_option(app_, flags, value, help);
}
void Command::option(const std::string& flags, std::optional<std::string>& value, const std::string& help) {
  add_optional(app_, flags, value, help);
}
void Command::option(const std::string& flags, std::optional<int64_t>& value, const std::string& help) {
  add_optional(app_, flags, value, help);
}
void Command::option(const std::string& flags, std::optional<double>& value, const std::string& help) {
  add_optional(app_, flags, value, help);
}
void Command::option(const std::string& flags, std::optional<uint64_t>& value, const std::string& help) {
  add_optional(app_, flags, value, help);
}
void Command::option(const std::string& flags, std::vector<std::string>& values, const std::string& help) {
  app_of(app_).add_option(flags, values, help)->type_size(1)->allow_extra_args(false);
}
void Command::required_option(const std::string& flags, std::string& value, const std::string& help) {
  app_of(app_)
      .add_option(flags, value, help)
      ->required()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}
void Command::flag(const std::string& flags, bool& value, const std::string& help) {
  app_of(app_).add_flag(flags, value, help);
}
void Command::footer(const std::string& text) {
  app_of(app_).footer(text);
}
void Command::action(std::function<void()> run) {
  CLI::App& app = app_of(app_);
  app.parse_complete_callback([&app, chosen = chosen_, run = std::move(run)] {
    if (app.get_subcommands().empty()) *chosen = run;  // else the sub-verb's
  });
}

void parse_and_run(const std::vector<std::string>& arguments, const std::string& about,
                   const std::function<void(Command&)>& declare) {
  CLI::App app(about, "frugal");
  app.require_subcommand(0, 1);
  app.get_formatter()->column_width(34);
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  std::function<void()> chosen;
  Command root(&app, &chosen);
  declare(root);
  std::vector<std::string> reversed = with_empty_values(arguments);
  std::ranges::reverse(reversed);
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    const CLI::App& command = innermost(app);
    const std::string prefix = command.get_parent() == nullptr ? "" : full_name(*command.get_parent());
    std::fputs(command.help(prefix).c_str(), stdout);
    return;
  } catch (const CLI::ExtrasError&) {
    const CLI::App& command = innermost(app);
    const std::vector<std::string> rest = command.remaining(true);
    fail_usage("{}; see '{} --help'", rest.empty() ? "unknown argument" : unexpected(command, rest.front()),
               full_name(command));
  } catch (const CLI::ParseError& error) {
    fail_usage("{}; see '{} --help'", error.what(), full_name(innermost(app)));
  }
  if (!chosen) fail_usage("no verb given; see '{} --help'", full_name(innermost(app)));
  chosen();
}

}  // namespace frugal::cli
