#include "pipeline/comparison.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace frugal {
namespace {

const StageRecord* done(const std::vector<StageRecord>& stages, std::string_view name) {
  const auto it = std::ranges::find(stages, name, &StageRecord::name);
  return it != stages.end() && it->done ? &*it : nullptr;
}

void add_questions(const StageRecord* stage, ModelFigures& figures) {
  if (stage == nullptr || !stage->result.contains("questions")) return;
  figures.correct = stage->result["questions"].value("correct", int64_t{0});
  figures.questions = stage->result["questions"].value("total", int64_t{0});
}

}  // namespace

std::vector<ModelFigures> figures_of(const std::vector<StageRecord>& stages, const std::string& name,
                                     const fs::path& directory) {
  std::vector<ModelFigures> out;
  if (const StageRecord* pretrain = done(stages, "pretrain")) {
    ModelFigures figures{.name = name, .model = directory / "model"};
    figures.parameters = pretrain->result.value("parameters", 0.0);
    if (pretrain->result.contains("validation"))
      figures.bits_per_byte = pretrain->result["validation"].value("bits_per_byte", 0.0);
    add_questions(done(stages, "evaluate"), figures);
    if (const StageRecord* teacher = done(stages, "teacher")) figures.bill.add(teacher->bill);
    figures.bill.add(pretrain->bill);
    out.push_back(std::move(figures));
  }
  if (const StageRecord* tune = done(stages, "tune")) {
    const bool whole = tune->result.value("adapter", std::string()) == "none";
    ModelFigures figures{.name = name + ", tuned",
                         .model = directory / "tune" / (whole ? "model" : "adapter")};
    figures.parameters = tune->result.value("parameters", 0.0);
    add_questions(done(stages, "exam"), figures);
    figures.bill = tune->bill;
    out.push_back(std::move(figures));
  }
  return out;
}

Json figures_json(const ModelFigures& f) {
  const bool asked = f.questions.value_or(0) > 0;
  return {{"name", f.name},
          {"model", f.model.string()},
          {"parameters", f.parameters},
          {"val_bits_per_byte", f.bits_per_byte ? Json(*f.bits_per_byte) : Json()},
          {"questions_correct",
           asked ? Json(static_cast<double>(*f.correct) / static_cast<double>(*f.questions)) : Json()},
          {"seconds", f.bill.seconds},
          {"joules",
           {{"low", f.bill.joules.low}, {"high", f.bill.joules.high}, {"measured", f.bill.joules.measured}}},
          {"dollars", f.bill.dollars}};
}

}  // namespace frugal
