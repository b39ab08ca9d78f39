#include "pipeline/report/history.h"

#include <nlohmann/json.hpp>
#include <string>

#include "core/json.h"

namespace frugal {
namespace {

double number(const Json& line, const char* key) {
  const auto it = line.find(key);
  return it != line.end() && it->is_number() ? it->get<double>() : 0;
}

template <class T>
void drop_after(std::vector<T>& list, int64_t step) {
  std::erase_if(list, [&](const T& entry) { return entry.step > step; });
}

std::vector<double> numbers(const Json& list) {
  std::vector<double> out;
  for (const Json& value : list) out.push_back(value.is_number() ? value.get<double>() : 0);
  return out;
}

void add_step(const Json& line, std::vector<History::Step>& steps) {
  History::Step step;
  step.step = static_cast<int64_t>(number(line, "step"));
  step.tokens = number(line, "tokens");
  step.loss = number(line, "loss");
  step.mtp_loss = number(line, "mtp_loss");
  step.lr = number(line, "lr");
  step.gradient_norm = number(line, "gradient_norm");
  step.tokens_per_second = number(line, "tokens_per_second");
  if (const auto load = line.find("load"); load != line.end() && load->is_array())
    step.imbalance = numbers(*load);
  if (const auto figures = line.find("figures"); figures != line.end() && figures->is_object()) {
    for (const auto& [name, value] : figures->items()) {
      if (value.is_number()) step.figures[name] = value.get<double>();
    }
  }
  steps.push_back(std::move(step));
}

void add_load(const Json& line, History& history) {
  const auto counts = line.find("experts");
  if (counts == line.end() || !counts->is_object()) return;
  History::Load load;
  load.step = static_cast<int64_t>(number(line, "step"));
  load.tokens = number(line, "tokens");
  for (const auto& [layer, values] : counts->items()) {
    if (!values.is_array()) continue;
    load.layers.push_back(std::atoi(layer.c_str()));
    load.counts.push_back(numbers(values));
  }
  history.loads.push_back(std::move(load));
}

void add_line(const Json& line, History& history) {
  const auto event = line.find("event");
  if (event == line.end() || !event->is_string()) return;
  const auto name = event->get<std::string>();
  if (name == "step") {
    add_step(line, history.steps);
  } else if (name == "load") {
    add_load(line, history);
  } else if (name == "evaluation") {
    history.evaluations.push_back(
        {static_cast<int64_t>(number(line, "step")), number(line, "tokens"), number(line, "bits_per_byte")});
  } else if (name == "tune_step") {
    add_step(line, history.tune_steps);
  } else if (name == "tune_evaluation") {
    history.tune_evaluations.push_back(
        {static_cast<int64_t>(number(line, "step")), number(line, "tokens"), number(line, "validation")});
  } else if (name == "tune_resumed" || name == "tune_rollback") {
    const auto step = static_cast<int64_t>(number(line, "back_to"));
    drop_after(history.tune_steps, step);
    drop_after(history.tune_evaluations, step);
  } else if (name == "resumed" || name == "rollback") {
    const auto step = static_cast<int64_t>(number(line, "back_to"));
    drop_after(history.steps, step);
    drop_after(history.evaluations, step);
    drop_after(history.loads, step);
  }
}

}  // namespace

History read_history(const fs::path& log) {
  History history;
  if (!fs::exists(log)) return history;
  const MappedFile file(log);
  const std::string_view text = file.text();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const Json line = Json::parse(text.substr(begin, end - begin), nullptr, false);
    if (line.is_object()) add_line(line, history);
    begin = end + 1;
  }
  return history;
}

}  // namespace frugal
