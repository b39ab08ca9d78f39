// The report of several runs that differ in their seed.
#include <fmt/core.h>

#include "meter/units.h"
#include "pipeline/report/html.h"
#include "pipeline/report/sections.h"

namespace frugal {
namespace {

using namespace report;

struct Figure {
  const char* name;
  int digits;  // after the point
  double (*value)(const ReportRun&);
};

double accuracy(const ReportRun& run) {
  const Json& result = run.result("evaluate");
  const auto q = result.find("questions");
  if (q == result.end() || number(*q, "total") == 0) return 0;
  return number(*q, "correct") / number(*q, "total") * 100;
}

const std::vector<Figure>& figures() {
  static const std::vector<Figure> list = {
      {"bits per byte", 4,
       [](const ReportRun& r) { return number(r.result("evaluate"), "val_bits_per_byte"); }},
      {"questions right, %", 1, accuracy},
      {"tokens", 0, [](const ReportRun& r) { return number(r.result("pretrain"), "tokens"); }},
      {"seconds", 1, [](const ReportRun& r) { return r.total().seconds; }},
      {"joules (middle)", 1, [](const ReportRun& r) { return r.total().joules.middle(); }},
      {"dollars", 6, [](const ReportRun& r) { return r.total().dollars; }}};
  return list;
}

std::string comparison(const std::vector<ReportRun>& runs) {
  HtmlTable table{.head = {"run"}, .total_row = true};
  std::vector<std::string> last = {"mean ± standard deviation"};
  for (const ReportRun& run : runs) table.rows.push_back({run.name});
  for (const Figure& figure : figures()) {
    const std::vector<double> values = column(runs, figure.value);
    const Spread spread = spread_of(values);
    if (spread.mean == 0 && spread.sd == 0) continue;
    table.head.push_back(figure.name);
    for (size_t i = 0; i < runs.size(); ++i)
      table.rows[i].push_back(fmt::format("{:.{}f}", values[i], figure.digits));
    last.push_back(fmt::format("{:.{}f} ± {:.{}f}", spread.mean, figure.digits, spread.sd, figure.digits));
  }
  table.rows.push_back(last);
  return "<h2>Runs</h2><div class=\"wide\">" + to_html(table) + "</div>\n";
}

std::string curves(const std::vector<ReportRun>& runs) {
  LineChart loss{.title = "Training loss, nats per token (smoothed)"},
      valid{.title = "Validation, bits per byte"};
  loss.label_last = valid.label_last = false;  // they would lie on each other
  for (size_t i = 0; i < runs.size(); ++i) {
    const History& h = runs[i].history;
    const int colour = static_cast<int>(i % 6);
    loss.series.push_back({.name = runs[i].name,
                           .x = column(h.steps, [](const auto& s) { return s.tokens; }),
                           .y = smoothed(column(h.steps, [](const auto& s) { return s.loss; }), 20),
                           .colour = colour});
    valid.series.push_back({.name = runs[i].name,
                            .x = column(h.evaluations, [](const auto& e) { return e.tokens; }),
                            .y = column(h.evaluations, [](const auto& e) { return e.bits_per_byte; }),
                            .colour = colour,
                            .marks = true});
  }
  return "<h2>Learning</h2><div class=\"charts\">" + line_chart(loss) + line_chart(valid) + "</div>\n";
}

}  // namespace

std::string render_sweep(const std::string& name, const std::vector<StageRecord>& shared,
                         const std::vector<ReportRun>& runs) {
  const Spread bits = spread_of(column(runs, figures()[0].value));
  std::vector<StageRecord> stages = shared;
  for (const ReportRun& run : runs) {
    stages.emplace_back(run.name, "");
    stages.back().bill = run.total();
  }
  Bill total;
  for (const StageRecord& stage : stages) total.add(stage.bill);
  std::string body = "<header><p class=\"mark\">frugal</p><h1>" + escape(name) + "</h1><p class=\"lead\">" +
                     fmt::format("{} runs that differ in their seed", runs.size()) +
                     "</p></header>\n<div class=\"cards\">";
  body +=
      card(fmt::format("{:.3f} ± {:.3f}", bits.mean, bits.sd), "bits per byte of validation text, mean ± sd");
  body += card(format_duration(total.seconds), "from start to end, all runs");
  body += card(energy_text(total.joules), total.joules.measured ? "energy, measured" : "energy, modelled");
  body += card(money_text(total.dollars), co2_text(total.co2_g) + " of CO2e");
  body += "</div>\n" + comparison(runs) + curves(runs) + "<h2>Each run</h2><p>";
  for (const ReportRun& run : runs)
    body += "<a href=\"" + escape(run.link) + "\">" + escape(run.name) + "</a> &nbsp; ";
  body += "</p>\n" + bill(stages);
  if (!runs.empty()) body += recipe(runs[0].recipe);
  body += "<footer>Made by frugal. The page loads nothing from anywhere.</footer>\n";
  return page(name + " - frugal", body);
}

}  // namespace frugal
