#include "pipeline/training.h"

#include <fmt/core.h>

#include <chrono>
#include <fstream>

#include "kernels/kernels.h"
#include "pipeline/stages.h"

namespace frugal {
namespace {

constexpr int64_t kEveryStep = 2000;  // so many steps are logged one by one, then every second, fourth, ...
constexpr int64_t kLoadSteps = 5;     // logged steps between two lines on the experts
constexpr double kHeartbeatSeconds = 30;  // between two savings of the bill so far

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(": ") + 2));
  }
  return "unknown processor";
}

std::string today() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

}  // namespace

Json machine_json(const Run& run) {
  return Json{{"date", today()},
              {"threads", run.settings.ctx.pool.size()},
              {"cpu", cpu_name()},
              {"instruction_set", run.settings.ctx.kernels.name},
              {"version", run.settings.version}};
}

void StepLog::step(const StepRecord& record, const Json& figures) {
  for (const auto& [layer, counts] : record.expert_tokens) {
    auto& sum = experts_[layer];
    sum.resize(counts.size());
    for (size_t e = 0; e < counts.size(); ++e) sum[e] += counts[e];
  }
  int64_t stride = 1;
  while (record.step >= kEveryStep * stride) stride *= 2;
  if (record.step % stride != 0) return;
  Json line = {{"event", prefix_ + "step"}};
  line.update(write_fields(record));
  if (!figures.empty()) line["figures"] = figures;
  directory_.log(line);
  if (record.step % (stride * kLoadSteps) != 0 || experts_.empty()) return;
  Json counts = Json::object();
  for (const auto& [layer, sum] : experts_) counts[std::to_string(layer)] = sum;
  directory_.log({{"event", prefix_ + "load"},
                  {"step", record.step},
                  {"tokens", record.tokens},
                  {"experts", std::move(counts)}});
  experts_.clear();
}

void StepLog::event(const TrainEvent& event, int64_t tokens_per_step) {
  Json line = {{"event", fmt::format("{}{}", prefix_, to_string(event.kind))},
               {"step", event.step},
               {"text", event.text}};
  switch (event.kind) {
    case TrainEvent::Kind::evaluation:
      line["tokens"] = event.step * tokens_per_step;
      line[evaluation_key_] = event.value;
      break;
    case TrainEvent::Kind::resumed:
      line["back_to"] = event.step;
      break;
    case TrainEvent::Kind::rollback:
      line["back_to"] = static_cast<int64_t>(event.value);
      break;
    case TrainEvent::Kind::plan:
    case TrainEvent::Kind::checkpoint:
    case TrainEvent::Kind::spike:
    case TrainEvent::Kind::skipped:
    case TrainEvent::Kind::interrupted:
      break;
  }
  directory_.log(line);
}

void RecordKeeper::save() {
  const Bill now = run_.stage->bill();
  run_.record.bill = earlier_;
  run_.record.bill.add(now);
  run_.directory.put(run_.record);
  run_.record.bill = earlier_;
  saved_at_ = now.seconds;
}

bool RecordKeeper::heartbeat() {
  if (run_.stage->bill().seconds - saved_at_ <= kHeartbeatSeconds) return false;
  save();
  return true;
}

std::function<Spending()> stage_spending(const Run& run) {
  const Bill begin = run.stage->bill();
  return [&run, begin] {
    const Bill now = run.stage->bill();
    return Spending{now.seconds - begin.seconds, now.joules.middle() - begin.joules.middle(),
                    now.dollars - begin.dollars};
  };
}

void tell(const Run& run, const TrainEvent& event) {
  const bool trouble = event.kind == TrainEvent::Kind::spike || event.kind == TrainEvent::Kind::rollback ||
                       event.kind == TrainEvent::Kind::skipped;
  if (trouble) {
    run.settings.observer.warning(event.text);
  } else if (event.kind == TrainEvent::Kind::evaluation || event.kind == TrainEvent::Kind::resumed) {
    run.settings.observer.note(fmt::format("step {}: {}", event.step, event.text));
  }
}

std::string generation_config_text(const GenerationConfig& generation) {
  Json json = write_fields(generation);
  if (json["eos_token_id"].empty()) json.erase("eos_token_id");
  if (generation.eos_token_id.size() == 1) json["eos_token_id"] = generation.eos_token_id[0];
  return to_text(json, 2) + "\n";
}

std::map<std::string, std::string> tokenizer_files(const Tokenizer& tokenizer, const fs::path& from) {
  std::map<std::string, std::string> files;
  if (fs::is_directory(from)) {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
      if (fs::exists(from / name)) files[name] = read_file(from / name);
    }
  } else {
    files["tokenizer.json"] = tokenizer.json();
    if (!tokenizer.config_json().empty()) {
      files["tokenizer_config.json"] = tokenizer.config_json();
    }
  }
  return files;
}

}  // namespace frugal
