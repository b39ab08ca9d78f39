// A teacher, its student and the one from scratch, side by side.
#include <fmt/core.h>

#include "meter/units.h"
#include "pipeline/report/html.h"
#include "pipeline/report/sections.h"

namespace frugal::report {

std::string models(const ReportRun& run, const std::vector<ReportRun>& others) {
  HtmlTable table{.head = {"model", "parameters", "bits per byte", "questions right", "time", "compute",
                           "energy", "cost"}};
  for (const ModelFigures& m : models_of(run, others)) {
    const bool asked = m.questions.value_or(0) > 0;
    table.rows.push_back(
        {m.name, short_count(m.parameters), m.bits_per_byte ? fmt::format("{:.4f}", *m.bits_per_byte) : "",
         asked ? fmt::format("{} of {}", *m.correct, *m.questions) : "", format_duration(m.bill.seconds),
         m.bill.flops > 0 ? format_quantity(m.bill.flops, "FLOP") : "", energy_text(m.bill.joules),
         money_text(m.bill.dollars)});
  }
  LineChart valid{.title = "Validation, bits per byte"};
  const auto add = [&](const ReportRun& one, const std::string& name) {
    valid.series.push_back(
        {.name = name,
         .x = column(one.history.evaluations, [](const auto& e) { return e.tokens; }),
         .y = column(one.history.evaluations, [](const auto& e) { return e.bits_per_byte; }),
         .colour = static_cast<int>(valid.series.size()),
         .marks = true});
  };
  add(run, "teacher");
  for (const ReportRun& other : others) add(other, other.name);
  return "<h2>Models</h2><div class=\"wide\">" + to_html(table) +
         "</div><p class=\"note\">Time, energy and cost are those of training; a student's have its "
         "teacher's "
         "cache in them, a tuned model's are of the tuning alone.</p>\n<div class=\"charts\">" +
         line_chart(valid) + "</div>\n";
}

}  // namespace frugal::report
