// The curves: learning, load of the experts, optimisation.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "pipeline/report/html.h"
#include "pipeline/report/sections.h"

namespace frugal::report {
namespace {

constexpr int64_t kColumns = 60;  // of a heat map
constexpr size_t kLayers = 6;     // shown; more are left out evenly

std::vector<double> tokens_of(const History& history) {
  return column(history.steps, [](const History::Step& s) { return s.tokens; });
}

double smoothing(const History& history) {
  return std::clamp(static_cast<double>(history.steps.size()) / 40, 2.0, 50.0);
}

HeatMap map_of(const History& history, int layer) {
  HeatMap map;
  map.title = "Layer " + std::to_string(layer);
  const auto records = static_cast<int64_t>(history.loads.size());
  map.columns = std::min(records, kColumns);
  map.x_end = history.loads.back().tokens;
  std::vector<std::vector<double>> sums(map.columns);  // [column][expert]
  for (int64_t r = 0; r < records; ++r) {
    const History::Load& load = history.loads[r];
    auto& sum = sums[r * map.columns / records];
    for (size_t l = 0; l < load.layers.size(); ++l) {
      if (load.layers[l] != layer) continue;
      sum.resize(std::max(sum.size(), load.counts[l].size()));
      for (size_t e = 0; e < load.counts[l].size(); ++e) sum[e] += load.counts[l][e];
    }
    map.rows = std::max(map.rows, static_cast<int64_t>(sum.size()));
  }
  map.values.assign(map.rows * map.columns, 0);
  for (int64_t c = 0; c < map.columns; ++c) {
    double total = 0;
    for (const double count : sums[c]) total += count;
    for (size_t e = 0; e < sums[c].size() && total > 0; ++e) {
      map.values[static_cast<int64_t>(e) * map.columns + c] =
          sums[c][e] * static_cast<double>(map.rows) / total;
    }
  }
  return map;
}

std::string scale_of_colours() {
  std::string out =
      R"(<p class="scale">Load of an expert over the mean load: none<svg viewBox="0 0 144 11">)";
  for (int level = 0; level < kHeatLevels; ++level) {
    out += fmt::format(R"(<rect class="h{}" x="{}" width="16" height="11"/>)", level, level * 16);
  }
  return out +
         "</svg>2.5 times and more. The lightest (in the dark: darkest) cells are within a tenth of "
         "even.</p>\n";
}

LineChart imbalance(const History& history) {
  LineChart chart{.title = "Busiest expert over the mean", .label_last = false};
  const std::vector<int>& layers = history.loads.back().layers;
  const size_t shown = std::min(layers.size(), kLayers);
  for (size_t i = 0; i < shown; ++i) {
    const size_t layer = i * layers.size() / shown;
    Series series{.name = fmt::format("layer {}", layers[layer]), .colour = static_cast<int>(i)};
    for (const History::Step& step : history.steps) {
      if (layer >= step.imbalance.size()) continue;
      series.x.push_back(step.tokens);
      series.y.push_back(step.imbalance[layer]);
    }
    series.y = smoothed(series.y, smoothing(history));
    chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace

std::vector<double> smoothed(const std::vector<double>& values, double window) {
  std::vector<double> out;
  const double keep = 1 - 1 / window;
  double sum = 0, weight = 0;
  for (const double value : values) {
    sum = sum * keep + value;
    weight = weight * keep + 1;
    out.push_back(sum / weight);
  }
  return out;
}

std::string learning(const History& history) {
  const std::vector<double> x = tokens_of(history);
  const std::vector<double> loss = column(history.steps, [](const History::Step& s) { return s.loss; });
  LineChart train{.title = "Training loss, nats per token"};
  train.series.push_back({.name = "every step", .x = x, .y = loss, .colour = 0, .band = true});
  const std::vector<double> mtp = column(history.steps, [](const History::Step& s) { return s.mtp_loss; });
  if (std::any_of(mtp.begin(), mtp.end(), [](double v) { return v != 0; })) {
    train.series[0].name = "next token";
    train.series.push_back(
        {.name = "second next token (MTP)", .x = x, .y = smoothed(mtp, smoothing(history)), .colour = 1});
  }
  LineChart valid{.title = "Validation, bits per byte"};
  valid.series.push_back({.name = "validation",
                          .x = column(history.evaluations, [](const auto& e) { return e.tokens; }),
                          .y = column(history.evaluations, [](const auto& e) { return e.bits_per_byte; }),
                          .colour = 2,
                          .marks = true});
  return "<h2>Learning</h2><div class=\"charts\">" + line_chart(train) + line_chart(valid) + "</div>\n";
}

// A chart for everything that the method says of its steps besides the loss: reward, KL, ...
static std::string figures_of(const std::vector<History::Step>& steps) {
  std::map<std::string, Series> all;
  for (const History::Step& step : steps) {
    for (const auto& [name, value] : step.figures) {
      all[name].x.push_back(step.tokens);
      all[name].y.push_back(value);
    }
  }
  std::string out;
  int colour = 0;
  for (auto& [name, series] : all) {
    std::string title = name;
    title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
    series.name = "every step";
    series.colour = colour++ % 6;
    series.band = true;
    out += line_chart({.title = title, .series = {std::move(series)}});
  }
  return out;
}

std::string tuning(const ReportRun& run) {
  const History& history = run.history;
  const Json& result = run.result("tune");
  if (history.tune_steps.empty()) return "";
  LineChart loss{.title =
                     text(result, "method") == "sft" || result.empty() ? "Loss, nats per target" : "Loss"};
  loss.series.push_back({.name = "every step",
                         .x = column(history.tune_steps, [](const auto& s) { return s.tokens; }),
                         .y = column(history.tune_steps, [](const auto& s) { return s.loss; }),
                         .colour = 0,
                         .band = true});
  const auto validation = result.find("validation");
  LineChart valid{.title = "Validation, " +
                           (validation == result.end() ? "nats per target" : text(*validation, "measured"))};
  valid.series.push_back(
      {.name = "validation",
       .x = column(history.tune_evaluations, [](const auto& e) { return e.tokens; }),
       .y = column(history.tune_evaluations, [](const auto& e) { return e.bits_per_byte; }),
       .colour = 2,
       .marks = true});
  HtmlTable table;
  const auto row = [&](const char* name, const char* key) {
    if (number(result, key) > 0) table.rows.push_back({name, count_text(number(result, key))});
  };
  for (const auto& [name, key] : {std::pair{"method", "method"}, {"model", "base"}, {"adapter", "adapter"}}) {
    if (!text(result, key).empty()) table.rows.push_back({name, text(result, key)});
  }
  row("parameters", "parameters");
  row("trained parameters", "trained_parameters");
  row("examples", "examples");
  row("optimizer steps", "steps");
  row("tokens learnt from", "tokens_without_padding");
  row("targets", "targets");
  return "<h2>Tuning</h2><div class=\"charts\">" + line_chart(loss) +
         (history.tune_evaluations.empty() ? "" : line_chart(valid)) + figures_of(history.tune_steps) +
         "</div><div class=\"columns\"><div>" + to_html(table) + "</div></div>\n";
}

std::string expert_load(const History& history) {
  if (history.loads.empty()) return "";
  const std::vector<int>& layers = history.loads.back().layers;
  const size_t shown = std::min(layers.size(), kLayers);
  std::string out = "<h2>Load of the experts over time</h2><div class=\"charts three\">";
  for (size_t i = 0; i < shown; ++i) out += heat_map(map_of(history, layers[i * layers.size() / shown]));
  out += "</div>" + scale_of_colours();
  if (shown < layers.size()) {
    out += fmt::format("<p class=\"note\">{} of {} layers with experts are shown.</p>", shown, layers.size());
  }
  return out;
}

std::string optimisation(const History& history) {
  const std::vector<double> x = tokens_of(history);
  LineChart lr{.title = "Learning rate", .from_zero = true, .label_last = false};
  lr.series.push_back(
      {.name = "lr", .x = x, .y = column(history.steps, [](const auto& s) { return s.lr; }), .colour = 3});
  LineChart norm{.title = "Gradient norm before clipping", .from_zero = true};
  norm.series.push_back({.name = "norm",
                         .x = x,
                         .y = column(history.steps, [](const auto& s) { return s.gradient_norm; }),
                         .colour = 4,
                         .band = true});
  LineChart speed{.title = "Tokens per second", .from_zero = true};
  speed.series.push_back({.name = "tok/s",
                          .x = x,
                          .y = column(history.steps, [](const auto& s) { return s.tokens_per_second; }),
                          .colour = 5,
                          .band = true});
  return "<h2>Optimisation</h2><div class=\"charts\">" + line_chart(lr) + line_chart(norm) +
         line_chart(speed) + (history.loads.empty() ? "" : line_chart(imbalance(history))) + "</div>\n";
}

}  // namespace frugal::report
