// report.html: one file that shows what a run did and what it cost. Everything is drawn here, as text and
// SVG; the page loads nothing and runs no script. It is made from what the run directory holds, so it can be
// made again at any time.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/json.h"
#include "pipeline/comparison.h"
#include "pipeline/report/history.h"
#include "pipeline/run_directory.h"

namespace frugal {

struct ReportRun {
  std::string name;
  std::string link;  // of its own report, relative; may be empty
  fs::path directory;
  Json recipe = Json::object();
  std::vector<StageRecord> stages;
  History history;

  // The result of a stage that is done; an empty object otherwise.
  const Json& result(std::string_view stage) const;
  Bill total() const;
};
// From a run directory.
ReportRun read_run(const fs::path& directory, const std::string& name);

// A teacher, its student and whatever followed: all models that came of them.
std::vector<ModelFigures> models_of(const ReportRun& run, const std::vector<ReportRun>& others);

// One run in full, and what followed it: the models side by side, one bill.
std::string render_report(const ReportRun& run, const std::vector<ReportRun>& others = {});
// Runs of one recipe with several seeds: mean and standard deviation, curves over each other. `shared` are
// the stages that were done once for all of them.
std::string render_sweep(const std::string& name, const std::vector<StageRecord>& shared,
                         const std::vector<ReportRun>& runs);

// Mean and sample standard deviation (0 for a single value).
struct Spread {
  double mean = 0, sd = 0;
};
Spread spread_of(const std::vector<double>& values);

}  // namespace frugal
