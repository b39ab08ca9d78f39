// frugal ledger list | total | export: reads what train and run have written.
#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/ledger_path.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "meter/ledger.h"
#include "meter/units.h"

namespace frugal::cli {

fs::path ledger_path(const Environment& environment) {
  if (!environment.ledger.empty()) return environment.ledger;
  if (!environment.data_home.empty()) return fs::path(environment.data_home) / "frugal" / "ledger.sqlite";
  if (!environment.home.empty())
    return fs::path(environment.home) / ".local" / "share" / "frugal" / "ledger.sqlite";
  fail("no place for the ledger: neither FRUGAL_LEDGER, XDG_DATA_HOME nor HOME is set");
}

namespace {

struct LedgerArguments {
  CommonOptions common;
  std::string file, verb, since, until, by = "all", format = "csv";
  int64_t newest = 0;
};

// "2026-05-31" (UTC) as Unix time.
std::optional<double> parse_day(const std::string& text, const char* flag) {
  if (text.empty()) return std::nullopt;
  std::tm day{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%d", &day);
  if (end == nullptr || *end != '\0') fail_usage("{} {}: expected a day as 2026-05-31", flag, text);
  return static_cast<double>(::timegm(&day));
}

Ledger::Filter filter(const LedgerArguments& a) {
  if (a.newest < 0) fail_usage("--newest {}: expected 0 (all) or more", a.newest);
  return {.verb = a.verb,
          .since = parse_day(a.since, "--since"),
          .until = parse_day(a.until, "--until"),
          .newest = a.newest};
}

std::string energy(const Joules& joules) {
  if (joules.low == joules.high) return format_quantity(joules.low, "J");
  return format_quantity(joules.low, "J") + " - " + format_quantity(joules.high, "J");
}

std::string bill_line(const Bill& bill) {
  return fmt::format("{:>12}  {:>12}  {:>20}  {:>10}  {:>10}", format_duration(bill.seconds),
                     format_quantity(static_cast<double>(bill.tokens), "tok"), energy(bill.joules),
                     fmt::format("${:.3g}", bill.dollars), format_quantity(bill.co2_g, "g"));
}

constexpr std::string_view kBillHeader =
    "        time        tokens                energy        cost         CO2";

std::string minute(double unix_time) {
  const auto time = static_cast<std::time_t>(unix_time);
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min);
}

// Null when the user has no ledger yet: then nothing was spent. A file that was asked for must exist.
std::unique_ptr<Ledger> open_ledger(const LedgerArguments& a, const Environment& environment) {
  if (!a.file.empty()) return std::make_unique<Ledger>(a.file, Ledger::Open::existing);
  const fs::path own = ledger_path(environment);
  if (!fs::exists(own)) return nullptr;
  return std::make_unique<Ledger>(own, Ledger::Open::existing);
}

void list(const LedgerArguments& a, const Environment& environment) {
  const Ledger::Filter wanted = filter(a);
  const auto ledger = open_ledger(a, environment);
  const auto runs = ledger ? ledger->runs(wanted) : std::vector<LedgerRun>();
  if (a.common.json) return print_json(Json{{"runs", ledger ? ledger_json(*ledger, runs) : Json::array()}});
  print(fmt::format("{:>5}  {:<16}  {:<10}  {:<11}  {}  output\n", "id", "started (UTC)", "verb", "status",
                    kBillHeader));
  for (const LedgerRun& run : runs) {
    print(fmt::format("{:>5}  {:<16}  {:<10}  {:<11}  {}  {}\n", run.id, minute(run.started), run.info.verb,
                      to_string(run.status), bill_line(run.charged()), run.info.output));
  }
  if (std::ranges::any_of(runs, [](const LedgerRun& run) { return !run.share.empty(); })) {
    print(
        "\nA teacher's cache is charged to the runs that learned from it, by tokens; --json tells how much "
        "of "
        "a run's figures that is (share).\n");
  }
}

void total(const LedgerArguments& a, const Environment& environment) {
  const Ledger::Filter wanted = filter(a);
  Ledger::GroupBy by = Ledger::GroupBy::all;
  if (a.by == "month") {
    by = Ledger::GroupBy::month;
  } else if (a.by == "verb") {
    by = Ledger::GroupBy::verb;
  } else if (a.by != "all") {
    fail_usage("--by {}: expected all, month or verb", a.by);
  }
  const auto ledger = open_ledger(a, environment);
  const auto totals = ledger ? ledger->totals(by, wanted) : std::vector<LedgerTotal>();
  if (a.common.json) {
    Json groups = Json::array();
    for (const LedgerTotal& t : totals) {
      Json group = {{"group", t.group}, {"runs", t.runs}};
      group.update(bill_json(t.bill));
      groups.push_back(std::move(group));
    }
    return print_json(Json{{"totals", std::move(groups)}});
  }
  print(fmt::format("{:<12}  {:>5}  {}\n", a.by, "runs", kBillHeader));
  for (const LedgerTotal& t : totals)
    print(fmt::format("{:<12}  {:>5}  {}\n", t.group, t.runs, bill_line(t.bill)));
}

void export_runs(const LedgerArguments& a, const Environment& environment) {
  const Ledger::Filter wanted = filter(a);
  if (a.format != "csv" && a.format != "json") fail_usage("--format {}: expected csv or json", a.format);
  const auto ledger = open_ledger(a, environment);
  const auto runs = ledger ? ledger->runs(wanted) : std::vector<LedgerRun>();
  if (a.format == "csv") return print(ledger_csv(runs));
  print(to_text(ledger ? ledger_json(*ledger, runs) : Json::array(), 2) + "\n");
}

}  // namespace

void declare_ledger(Command& command, const Environment& environment) {
  const auto a = std::make_shared<LedgerArguments>();
  const auto declare = [&](const char* name, const char* help, bool reports,
                           void (*run)(const LedgerArguments&, const Environment&)) {
    Command sub = command.subcommand(name, help);
    a->common.declare(sub, reports);
    sub.option("--file", a->file, "The ledger (default: the user's own)");
    sub.option("--verb", a->verb, "Only runs of this verb");
    sub.option("--since", a->since, "Only runs that started on this day (UTC) or later, as 2026-05-31");
    sub.option("--until", a->until, "Only runs that started before this day");
    sub.option("--newest", a->newest, "At most so many of the newest runs; 0: all");
    sub.action([a, run, environment] { run(*a, environment); });
    return sub;
  };
  declare("list", "Every run", true, list);
  declare("total", "Sums over runs", true, total).option("--by", a->by, "all, month or verb");
  declare("export", "For other programs", false, export_runs).option("--format", a->format, "csv or json");
}

}  // namespace frugal::cli
