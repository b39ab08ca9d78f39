// docs/commands.md tells what the program does: a section for each verb, and in it every flag that --help
// knows.
#include <map>
#include <set>
#include <sstream>

#include "cli/command_line.h"
#include "cli/verbs.h"

namespace frugal {
namespace {

using Sections = std::map<std::string, std::string>;

// The text below each "## `NAME`".
Sections sections_of(const std::string& page) {
  Sections sections;
  std::istringstream lines(page);
  std::string line, name;
  while (std::getline(lines, line)) {
    if (line.starts_with("## ")) name = line.starts_with("## `") ? line.substr(4, line.find('`', 4) - 4) : "";
    if (!name.empty()) sections[name] += line + "\n";
  }
  return sections;
}

// The names in "  -p,--prompt TEXT  ..." lines of --help, without those that every verb has.
std::set<std::string> flags_in(const std::string& help) {
  static const std::set<std::string> common = {"-h", "--help", "--threads", "--json", "--quiet"};
  std::set<std::string> flags;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  -")) continue;
    std::istringstream names(line.substr(2, line.find_first_of(" =", 2) - 2));
    for (std::string flag; std::getline(names, flag, ',');) {
      if (!common.contains(flag)) flags.insert(flag);
    }
  }
  return flags;
}

// What stands between backticks in the first column of tables and looks like a flag.
std::set<std::string> flags_in_tables(const std::string& section) {
  std::set<std::string> flags;
  std::istringstream lines(section);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| `-")) continue;
    const std::string cell = line.substr(0, line.find('|', 1));
    for (size_t at = cell.find("`-"); at != std::string::npos; at = cell.find("`-", at + 1))
      flags.insert(cell.substr(at + 1, cell.find_first_of(" `", at + 1) - at - 1));
  }
  return flags;
}

class Docs : public CommandLine {
 protected:
  // Help of a verb and of its sub-verbs, which stand below "Verbs:".
  std::string all_help(const std::vector<std::string>& verb) const {
    std::vector<std::string> arguments = verb;
    arguments.emplace_back("--help");
    const Finished done = run(arguments);
    EXPECT_EQ(done.code, 0) << verb[0];
    EXPECT_EQ(done.err, "");
    std::string text = done.out, line;
    EXPECT_NE(text.find("Usage: frugal " + verb[0]), std::string::npos) << text;
    const size_t list = text.find("\nVerbs:\n");
    if (list == std::string::npos) return text;
    std::istringstream lines(text.substr(list + 8));
    while (std::getline(lines, line) && line.starts_with("  ")) {
      std::vector<std::string> sub = verb;
      sub.push_back(line.substr(2, line.find(' ', 2) - 2));
      text += all_help(sub);
    }
    return text;
  }
};

TEST_F(Docs, EveryVerbHasASectionWithItsFlags) {
  const Sections sections = sections_of(read_file(fs::path(FRUGAL_SOURCE_DIR) / "docs/commands.md"));
  std::set<std::string> verbs;
  for (const cli::Verb& verb : cli::all_verbs()) {
    const std::string name(verb.name);
    verbs.insert(name);
    ASSERT_TRUE(sections.contains(name)) << "docs/commands.md has no section for 'frugal " << name << "'";
    const std::string& section = sections.at(name);
    EXPECT_NE(section.find("    $ "), std::string::npos) << name << " shows no example";
    const std::set<std::string> known = flags_in(all_help({name}));
    for (const std::string& flag : known)
      EXPECT_NE(section.find("`" + flag), std::string::npos) << name << " does not tell of " << flag;
    for (const std::string& flag : flags_in_tables(section))
      EXPECT_TRUE(known.contains(flag)) << name << " has no " << flag;
  }
  for (const auto& [name, text] : sections)
    EXPECT_TRUE(verbs.contains(name)) << "docs/commands.md tells of '" << name << "', which is no verb";
}

}  // namespace
}  // namespace frugal
