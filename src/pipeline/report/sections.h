// The parts of a report, as HTML. Private to report/.
#pragma once

#include <string>
#include <vector>

#include "pipeline/report/chart.h"
#include "pipeline/report/report.h"

namespace frugal::report {

std::string page(const std::string& title, const std::string& body);
std::string card(const std::string& figure, const std::string& what);
std::string number_text(double value, int digits);
// "1,234,567"
std::string count_text(double value);
// "1.23 M"
std::string short_count(double value);
std::string energy_text(const Joules& joules);
std::string money_text(double dollars);
std::string co2_text(double grams);
double number(const Json& object, const char* key);
std::string text(const Json& object, const char* key);

// An exponential mean over about `window` steps.
std::vector<double> smoothed(const std::vector<double>& values, double window);
template <class T, class F>
std::vector<double> column(const std::vector<T>& rows, F value) {
  std::vector<double> out;
  for (const T& row : rows) out.push_back(value(row));
  return out;
}

std::string models(const ReportRun& run, const std::vector<ReportRun>& others);
std::string learning(const History& history);
std::string expert_load(const History& history);
std::string optimisation(const History& history);
std::string tuning(const ReportRun& run);
std::string model_and_data(const ReportRun& run);
std::string evaluation(const ReportRun& run);
std::string samples(const ReportRun& run);
std::string bill(const std::vector<StageRecord>& stages);
std::string recipe(const Json& recipe);

}  // namespace frugal::report
