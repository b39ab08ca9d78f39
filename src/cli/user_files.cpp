#include "cli/user_files.h"

#include "cli/ledger_path.h"
#include "pipeline/recipe.h"

namespace frugal::cli {

fs::path directory_of(const std::string& given, const std::string& home, const char* below_home) {
  if (!given.empty()) return fs::path(given) / "frugal";
  if (!home.empty()) return fs::path(home) / below_home / "frugal";
  return {};
}

Prices user_prices(const Environment& environment) {
  const fs::path folder = directory_of(environment.config_home, environment.home, ".config");
  return read_user_prices(folder.empty() ? fs::path() : folder / "config.toml");
}

fs::path ledger_or_none(const Environment& environment) {
  const bool nowhere =
      environment.ledger.empty() && environment.data_home.empty() && environment.home.empty();
  return nowhere ? fs::path() : ledger_path(environment);
}

std::string shell_word(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                          "_-./=,:+@%") == std::string::npos;
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace frugal::cli
