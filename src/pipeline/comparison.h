// The models that a run made, side by side: how large, how good, and what making each took.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/json.h"
#include "meter/bill.h"
#include "pipeline/run_directory.h"

namespace frugal {

struct ModelFigures {
  std::string name;
  fs::path model;
  double parameters = 0;
  std::optional<double> bits_per_byte;
  std::optional<int64_t> correct, questions;  // held-out questions
  Bill bill;                                  // of its training; a student's with its teacher's cache, a
                                              // tuned model's for the tuning alone
};

// Of one run directory: the model it trained, called `name`, and "NAME, tuned".
std::vector<ModelFigures> figures_of(const std::vector<StageRecord>& stages, const std::string& name,
                                     const fs::path& directory);

// {"name", "model", "parameters", "val_bits_per_byte", "questions_correct" (share), "seconds", "joules",
// "dollars"}
Json figures_json(const ModelFigures& figures);

}  // namespace frugal
