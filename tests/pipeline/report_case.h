// A run as a report sees it, made up.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "pipeline/report/report.h"

namespace frugal {

inline History example_history(int seed) {
  History history;
  const int steps = 700;
  for (int i = 1; i <= steps; ++i) {
    const double t = i * 4096.0, noise = std::sin(i * 12.9898 + seed * 7.0) * 0.08;
    History::Step step;
    step.step = i;
    step.tokens = t;
    step.loss = 0.9 + 5.5 * std::exp(-i / 55.0) + 0.6 * std::exp(-i / 300.0) + noise;
    step.lr = 3e-3 * std::min({1.0, i / 60.0, (steps - i + 1) / 140.0});
    step.gradient_norm = 0.5 + 4 * std::exp(-i / 20.0) + std::abs(noise) * 3;
    step.tokens_per_second = 21000 + 3000 * noise;
    for (int l = 0; l < 3; ++l)
      step.imbalance.push_back(1.1 + (1.5 - l * 0.3) * std::exp(-i / 80.0) + std::abs(noise));
    history.steps.push_back(step);
    if (i % 100 == 0 || i == steps) {
      history.evaluations.push_back({i, t, 1.2 + seed * 0.1 + 1.5 * std::exp(-i / 150.0)});
    }
    if (i % 10 != 0) continue;
    History::Load load{.step = i, .tokens = t};
    for (int l = 1; l <= 3; ++l) {
      load.layers.push_back(l);
      std::vector<double> counts;
      for (int e = 0; e < 8; ++e) {
        counts.push_back(
            1000 * (1 + 0.9 * std::exp(-i / 120.0) * std::sin(e * 2.1 + l) + 0.1 * std::sin(e + i * 0.7)));
      }
      load.counts.push_back(counts);
    }
    history.loads.push_back(load);
  }
  return history;
}

inline ReportRun example_run(const std::string& name, int seed = 1) {
  ReportRun run;
  run.name = name;
  run.recipe = Json::parse(R"({"schema":1,"output":"runs/quickstart","seed":[1],"model":{"preset":"nano"}})");
  run.history = example_history(seed);
  const auto stage = [&](const char* stage_name, double seconds, const char* result) {
    StageRecord record;
    record.name = stage_name;
    record.done = true;
    record.bill.seconds = seconds;
    record.bill.cpu_seconds = seconds * 1.9;
    record.bill.joules = {seconds * 4, seconds * 13, false};
    record.bill.dollars = seconds * 3e-6;
    record.bill.co2_g = seconds * 1e-3;
    record.bill.peak_memory_bytes = 310 << 20;
    record.bill.energy_source = "AMD EPYC Milan, 4.4 W for each busy thread";
    record.result = Json::parse(result);
    run.stages.push_back(std::move(record));
  };
  stage("tokenizer", 2.1, R"({"trained":true,"vocab_size":1024})");
  stage("data", 1.3, R"({"files":1,"documents_read":24000,"exact_duplicates":112,"train_documents":23600,
    "train_tokens":1834021,"train_bytes":5120331,"valid_documents":240,"valid_tokens":18034})");
  stage("pretrain", 150,
        R"({"architecture":"DeepseekV3ForCausalLM","parameters":1345280,"active_parameters":834560,
    "embedding_parameters":131072,"layers":4,"hidden_size":128,"vocab_size":1024,"experts":8,"experts_per_token":2,
    "context":256,"steps":700,"tokens":2867200,"epochs":1.56,"mfu":0.42,
    "machine":{"date":"24 November 2026","threads":2,"cpu":"AMD EPYC 7B13","instruction_set":"avx2","version":"frugal 0.1.0"}})");
  run.stages.back().bill.flops = 1.5e13;
  run.stages.back().bill.tokens = 2867200;
  stage("evaluate", 6.5,
        R"({"val_bits_per_byte":1.3,"val_loss":2.5,"perplexity":12.2,"val_tokens":18034,"val_bytes":50331,
    "questions":{"total":300,"correct":241,"kinds":[{"kind":"arithmetic","correct":71,"total":100},
    {"kind":"facts","correct":96,"total":100},{"kind":"stories","correct":74,"total":100}],
    "examples":[{"question":"What is 12 + 7?","answer":"19","expected":"19","correct":true},
    {"question":"Where does Mara live?","answer":"Oslo","expected":"Brenn","correct":false}]}})");
  run.stages.back().result["val_bits_per_byte"] = 1.2 + seed * 0.1;
  stage("samples", 1.2, R"({"temperature":0.8,"samples":[{"prompt":"Once upon a time",
    "text":" there was a small fox who lived by the river. Every morning the fox went to look for berries, and every evening it came home with a basket full of them."},
    {"prompt":"Tom went to the market","text":" with 12 coins. He bought 3 apples for 2 coins each. 3 x 2 = 6 and 12 - 6 = 6, so he had 6 coins left.\nThen he went home."}]})");
  return run;
}

}  // namespace frugal
