#include "pipeline/report/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "meter/units.h"
#include "pipeline/report/html.h"
#include "pipeline/report/sections.h"
#include "pipeline/report/style.h"
#include "pipeline/toml.h"

namespace frugal {
namespace report {

std::string page(const std::string& title, const std::string& body) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>" +
         escape(title) + "</title><style>" + std::string(kReportStyle) + "</style></head>\n<body><main>\n" +
         body + "</main></body></html>\n";
}

std::string card(const std::string& figure, const std::string& what) {
  return "<div class=\"card\"><b>" + escape(figure) + "</b><span>" + escape(what) + "</span></div>";
}

std::string number_text(double value, int digits) {
  return fmt::format("{:.{}g}", value, digits);
}

std::string count_text(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > (value < 0 ? 1 : 0); i -= 3)
    digits.insert(i, ",");
  return digits;
}

std::string short_count(double value) {
  std::string out = format_quantity(value, "");
  out.erase(out.find_last_not_of(' ') + 1);
  return out;
}

std::string energy_text(const Joules& joules) {
  if (joules.high == joules.low) return format_quantity(joules.low, "J");
  // Both ends in the unit of the higher one: "0.64–2.09 kJ".
  const std::string high = format_quantity(joules.high, "J");
  const double unit = joules.high / std::stod(high);
  return fmt::format("{:.2g}–{}", joules.low / unit, high);
}

std::string money_text(double dollars) {
  const int digits = dollars >= 1 || dollars == 0 ? 2 : dollars >= 0.01 ? 3 : 6;
  if (dollars > 0 && dollars < 5e-7) return "<$0.000001";
  return fmt::format("${:.{}f}", dollars, digits);
}

std::string co2_text(double grams) {
  return grams > 0 && grams < 0.001 ? "<0.001 g" : format_quantity(grams, "g");
}

double number(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : 0;
}

std::string text(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

namespace {

std::string lead(const ReportRun& run) {
  const Json& model = run.result(run.result("pretrain").empty() ? "tune" : "pretrain");
  const Json& machine = model.contains("machine") ? model["machine"] : run.result("data");
  std::string out;
  if (number(model, "parameters") > 0) {
    out = fmt::format("{}, {} parameters", text(model, "architecture"),
                      short_count(number(model, "parameters")));
    if (number(model, "active_parameters") > 0) {
      out += fmt::format(" ({} used for each token)", short_count(number(model, "active_parameters")));
    }
  }
  const auto add = [&](const std::string& part) {
    if (!part.empty()) out += (out.empty() ? "" : " · ") + part;
  };
  add(text(machine, "date"));
  if (number(machine, "threads") > 0) {
    const double threads = number(machine, "threads");
    add(fmt::format("{:.0f} thread{} of {}", threads, threads == 1 ? "" : "s", text(machine, "cpu")));
  }
  add(text(machine, "version"));
  return out;
}

std::string cards(const ReportRun& run, const Bill& total) {
  const Json& evaluation = run.result("evaluate");
  std::string out = "<div class=\"cards\">";
  if (number(evaluation, "val_bits_per_byte") > 0) {
    out += card(fmt::format("{:.3f}", number(evaluation, "val_bits_per_byte")),
                "bits per byte of validation text");
  }
  if (const auto q = evaluation.find("questions"); q != evaluation.end() && number(*q, "total") > 0) {
    out += card(fmt::format("{:.0f} %", number(*q, "correct") / number(*q, "total") * 100),
                fmt::format("of {} held-out questions answered", count_text(number(*q, "total"))));
  }
  if (const double tokens = number(run.result("pretrain"), "tokens"); tokens > 0) {
    out += card(short_count(tokens), "tokens trained on");
  }
  const Json& tune = run.result("tune");
  if (const auto valid = tune.find("validation"); valid != tune.end()) {
    out += card(fmt::format("{:.3f}", number(*valid, "value")),
                text(*valid, "measured") + " on validation examples, tuned");
  }
  if (number(tune, "tokens_without_padding") > 0) {
    out += card(short_count(number(tune, "tokens_without_padding")), "tokens tuned on");
  }
  out += card(format_duration(total.seconds), "from start to end");
  out += card(energy_text(total.joules), total.joules.measured ? "energy, measured" : "energy, modelled");
  out += card(money_text(total.dollars), co2_text(total.co2_g) + " of CO2e");
  return out + "</div>\n";
}

}  // namespace
}  // namespace report

const Json& ReportRun::result(std::string_view stage) const {
  static const Json kNone = Json::object();
  for (const StageRecord& record : stages) {
    if (record.name == stage && record.result.is_object()) return record.result;
  }
  return kNone;
}

Bill ReportRun::total() const {
  Bill sum;
  for (const StageRecord& record : stages) sum.add(record.bill);
  return sum;
}

ReportRun read_run(const fs::path& directory, const std::string& name) {
  ReportRun run;
  run.name = name;
  run.directory = directory;
  if (fs::exists(directory / "recipe.toml")) run.recipe = read_toml_file(directory / "recipe.toml").values;
  run.stages = read_stages(directory);
  run.history = read_history(directory / "log.jsonl");
  return run;
}

std::vector<ModelFigures> models_of(const ReportRun& run, const std::vector<ReportRun>& others) {
  std::vector<ModelFigures> all = figures_of(run.stages, "teacher", run.directory);
  for (const ReportRun& other : others) {
    for (ModelFigures& figures : figures_of(other.stages, other.name, other.directory))
      all.push_back(std::move(figures));
  }
  return all;
}

std::string render_report(const ReportRun& run, const std::vector<ReportRun>& others) {
  using namespace report;
  std::vector<StageRecord> stages = run.stages;
  for (const ReportRun& other : others) {
    for (StageRecord stage : other.stages) {
      stage.name = other.name + "/" + stage.name;
      stages.push_back(std::move(stage));
    }
  }
  Bill total;
  for (const StageRecord& stage : stages) total.add(stage.bill);
  std::string body = "<header><p class=\"mark\">frugal</p><h1>" + escape(run.name) +
                     "</h1><p class=\"lead\">" + escape(lead(run)) + "</p></header>\n" + cards(run, total);
  if (!others.empty()) body += models(run, others);
  if (!run.history.steps.empty()) body += learning(run.history);
  body += tuning(run) + evaluation(run) + samples(run);
  if (!run.history.steps.empty()) body += optimisation(run.history) + expert_load(run.history);
  if (run.result("tune").empty() || !run.result("pretrain").empty()) body += model_and_data(run);
  for (const ReportRun& other : others) {
    body += "<h1>" + escape(other.name) + "</h1><p class=\"lead\">" + escape(lead(other)) + " · <a href=\"" +
            escape(other.link) + "\">its own report</a></p>\n";
    if (!other.history.steps.empty()) body += learning(other.history);
    body += tuning(other) + evaluation(other) + samples(other);
  }
  body += bill(stages) + recipe(run.recipe);
  body +=
      "<footer>Made by frugal from log.jsonl and state/ of this run. The page loads nothing from "
      "anywhere.</footer>\n";
  return page(run.name + " - frugal", body);
}

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  if (values.empty()) return spread;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) spread.mean += v / n;
  double squares = 0;
  for (const double v : values) squares += (v - spread.mean) * (v - spread.mean);
  if (values.size() > 1) spread.sd = std::sqrt(squares / (n - 1));
  return spread;
}

}  // namespace frugal
