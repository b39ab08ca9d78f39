// The report: what it shows, that it is one file without scripts, and that text from outside cannot become
// markup.
#include "pipeline/report/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <regex>

#include "core/files.h"
#include "meter/units.h"
#include "pipeline/report/chart.h"
#include "pipeline/report/html.h"
#include "report_case.h"

namespace frugal {
namespace {

TEST(Escape, MarkupControlCharactersAndInvalidUtf8) {
  EXPECT_EQ(escape("a<b>&\"'c"), "a&lt;b&gt;&amp;&quot;&#39;c");
  EXPECT_EQ(escape(std::string("x\0y\x1bz", 5)), "xyz");
  EXPECT_EQ(escape("\xff"), "\xef\xbf\xbd");
}

TEST(Chart, TicksAreRoundAndInside) {
  const std::vector<double> ticks = round_ticks(0.13, 0.87, 5);
  ASSERT_EQ(ticks.size(), 7u);
  EXPECT_NEAR(ticks[0], 0.2, 1e-12);
  EXPECT_NEAR(ticks[6], 0.8, 1e-12);
  EXPECT_TRUE(round_ticks(1, 1, 5).empty());
}

TEST(Chart, KeepsFiniteValuesOnly) {
  LineChart chart{.title = "t"};
  chart.series.push_back({.name = "a", .x = {1, 2, 3}, .y = {1, std::nan(""), 3}});
  const std::string svg = line_chart(chart);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(svg.find("<path class=\"line c0\""), std::string::npos);
  chart.series[0].y = {std::nan(""), std::nan(""), INFINITY};
  EXPECT_NE(line_chart(chart).find("Nothing was recorded"), std::string::npos);
}

TEST(Chart, LongCurvesStaySmall) {
  LineChart chart{.title = "t"};
  Series series{.name = "a"};
  for (int i = 0; i < 100000; ++i) {
    series.x.push_back(i);
    series.y.push_back(std::sin(i * 1e-3));
  }
  chart.series.push_back(series);
  EXPECT_LT(line_chart(chart).size(), 8000u);
}

TEST(HeatMap, LevelsAreSymmetricAroundEven) {
  EXPECT_EQ(heat_level(1), 4);
  EXPECT_EQ(heat_level(0), 0);
  EXPECT_EQ(heat_level(9), 8);
  EXPECT_EQ(heat_level(0.8), 3);
  EXPECT_EQ(heat_level(1.2), 5);
}

TEST(Report, ShowsEveryPartAndLoadsNothing) {
  const ReportRun run = example_run("quickstart");
  const std::string page = render_report(run);
  for (const char* part : {"Learning", "Load of the experts", "Busiest expert", "Optimisation", "Evaluation",
                           "Samples", "Model and data", "The bill", "Recipe", "Layer 1", "Layer 3",
                           "dropped: exact duplicates", "Tom went to the market"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos);
  for (const char* bad : {"nan\"", " nan", "inf\"", "-nan"})
    EXPECT_EQ(page.find(bad), std::string::npos) << bad;
  EXPECT_LT(page.size(), 400000u);
  if (const char* out = std::getenv("FRUGAL_REPORT_OUT"))
    std::ofstream(fs::path(out) / "report.html") << page;
}

TEST(Report, CountsNearDuplicatesWhereTheyWereSought) {
  ReportRun run = example_run("quickstart");
  const auto data = std::ranges::find(run.stages, "data", &StageRecord::name);
  data->result["near_duplicates"] = 0;
  EXPECT_EQ(render_report(run).find("near duplicates"), std::string::npos);
  run.recipe["data"]["near_duplicates"] = true;
  EXPECT_NE(render_report(run).find("dropped: near duplicates</th><td>0</td>"), std::string::npos)
      << render_report(run).substr(render_report(run).find("exact duplicates"), 300);
}

TEST(Report, TextFromOutsideIsNotMarkup) {
  ReportRun run = example_run("<b>name</b>");
  for (StageRecord& stage : run.stages) {
    if (stage.name == "samples") stage.result["samples"][0]["text"] = "<img onerror=x>";
  }
  run.recipe["output"] = "<i>&";
  const std::string page = render_report(run);
  EXPECT_EQ(page.find("<b>name"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("<i>&"), std::string::npos);
}

TEST(Report, AStudentStandsBesideItsTeacher) {
  const ReportRun teacher = example_run("quickstart");
  std::vector<ReportRun> others = {example_run("student", 2), example_run("scratch", 3)};
  others[0].link = "student/report.html";
  StageRecord cache, tune, exam;
  cache.name = "teacher", tune.name = "tune", exam.name = "exam";
  cache.done = tune.done = exam.done = true;
  cache.bill.seconds = 25;
  tune.bill.seconds = 12;
  tune.result = Json::parse(R"({"adapter":"none","parameters":1345280})");
  exam.result = Json::parse(R"({"questions":{"correct":277,"total":300,"kinds":[]}})");
  for (StageRecord* stage : {&cache, &tune, &exam}) others[0].stages.push_back(*stage);
  const std::vector<ModelFigures> models = models_of(teacher, others);
  ASSERT_EQ(models.size(), 4u);
  EXPECT_EQ(models[0].name, "teacher");
  EXPECT_EQ(models[1].name, "student");
  EXPECT_DOUBLE_EQ(models[1].bill.seconds, 175);  // its training and its teacher's cache
  EXPECT_EQ(models[2].name, "student, tuned");
  EXPECT_EQ(models[2].correct, 277);
  EXPECT_DOUBLE_EQ(models[2].bill.seconds, 12);
  EXPECT_EQ(models[3].name, "scratch");
  const std::string page = render_report(teacher, others);
  for (const char* part : {"Models", "student, tuned", "277 of 300", "student/report.html",
                           "student/pretrain", "scratch/pretrain", "The same questions after tuning"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  // One bill for all of it: three trainings, evaluations and samples, the cache and the tuning.
  EXPECT_NE(page.find("<b>" + format_duration(3 * (2.1 + 1.3 + 150 + 6.5 + 1.2) + 37) + "</b>"),
            std::string::npos);
}

TEST(Report, OfARunThatJustBegan) {
  ReportRun run;
  run.name = "empty";
  EXPECT_NE(render_report(run).find("The bill"), std::string::npos);
}

TEST(Report, SweepGivesMeanAndDeviation) {
  std::vector<ReportRun> runs;
  for (int seed = 1; seed <= 3; ++seed) {
    runs.push_back(example_run("seed " + std::to_string(seed), seed));
    runs.back().link = "seed-" + std::to_string(seed) + "/report.html";
  }
  const std::string page = render_sweep("quickstart", {}, runs);
  EXPECT_NE(page.find("1.4000"), std::string::npos);  // 1.3, 1.4, 1.5 bits per byte
  EXPECT_NE(page.find("± 0.1000"), std::string::npos);
  EXPECT_NE(page.find("seed-2/report.html"), std::string::npos);
  if (const char* out = std::getenv("FRUGAL_REPORT_OUT")) std::ofstream(fs::path(out) / "sweep.html") << page;
}

TEST(Spread, SampleDeviation) {
  const Spread spread = spread_of({1, 2, 3});
  EXPECT_DOUBLE_EQ(spread.mean, 2);
  EXPECT_DOUBLE_EQ(spread.sd, 1);
  EXPECT_DOUBLE_EQ(spread_of({5}).sd, 0);
}

TEST(History, DropsWhatAResumeUndidAndHalfLines) {
  const fs::path file = fs::temp_directory_path() / "frugal_history_test.jsonl";
  std::ofstream(file) << R"({"event":"step","step":1,"tokens":10,"loss":3}
{"event":"step","step":2,"tokens":20,"loss":2.5}
{"event":"evaluation","step":2,"tokens":20,"bits_per_byte":2}
{"event":"resumed","back_to":1}
{"event":"step","step":2,"tokens":20,"loss":2.4}
not json
{"event":"load","step":2,"tokens":20,"experts":{"1":[3,5]}}
{"event":"step","step":3,"tok)";
  const History history = read_history(file);
  ASSERT_EQ(history.steps.size(), 2u);
  EXPECT_DOUBLE_EQ(history.steps[1].loss, 2.4);
  EXPECT_TRUE(history.evaluations.empty());
  ASSERT_EQ(history.loads.size(), 1u);
  EXPECT_EQ(history.loads[0].layers[0], 1);
  fs::remove(file);
}

}  // namespace
}  // namespace frugal
