// The ledger for other programs: CSV and JSON.
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "meter/ledger.h"

namespace frugal {
namespace {

std::string iso_time(double unix_time) {
  const auto time = static_cast<std::time_t>(unix_time);
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

Json run_json(const LedgerRun& run) {
  Json json = {{"id", run.id},
               {"started", iso_time(run.started)},
               {"verb", run.info.verb},
               {"status", std::string(to_string(run.status))},
               {"recipe", run.info.recipe},
               {"output", run.info.output},
               {"model", run.info.model}};
  json.update(bill_json(run.charged()));
  json["share"] = write_fields(run.share);
  return json;
}

std::string csv_cell(const Json& value) {
  const std::string text = value.is_string() ? value.get<std::string>() : to_text(value);
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// Calls f(column, value) for every value, a nested one as "joules_low".
template <class F>
void for_each_cell(const Json& json, const std::string& prefix, F f) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      for_each_cell(value, prefix + key + "_", f);
    } else {
      f(prefix + key, value);
    }
  }
}

}  // namespace

std::string ledger_csv(const std::vector<LedgerRun>& runs) {
  std::string csv;
  const auto separator = [&csv] {
    if (!csv.empty() && csv.back() != '\n') csv += ',';
  };
  for_each_cell(run_json(LedgerRun{}), "", [&](const std::string& name, const Json&) {
    separator();
    csv += name;
  });
  csv += "\r\n";
  for (const LedgerRun& run : runs) {
    for_each_cell(run_json(run), "", [&](const std::string&, const Json& value) {
      separator();
      csv += csv_cell(value);
    });
    csv += "\r\n";
  }
  return csv;
}

Json ledger_json(const Ledger& ledger, const std::vector<LedgerRun>& runs) {
  Json list = Json::array();
  for (const LedgerRun& run : runs) {
    Json json = run_json(run);
    json["stages"] = Json::array();
    for (const LedgerStage& stage : ledger.stages(run.id)) {
      Json inner = {{"name", stage.name},
                    {"started", iso_time(stage.started)},
                    {"status", std::string(to_string(stage.status))}};
      inner.update(bill_json(stage.bill));
      json["stages"].push_back(std::move(inner));
    }
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace frugal
