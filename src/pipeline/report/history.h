// What log.jsonl tells about training, ready to be drawn. Steps that were undone (a resume or rollback to an
// earlier checkpoint) are left out, as are lines that a killed run left unfinished.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/files.h"

namespace frugal {

struct History {
  struct Step {
    int64_t step = 0;
    double tokens = 0, loss = 0, mtp_loss = 0, lr = 0, gradient_norm = 0, tokens_per_second = 0;
    std::map<std::string, double> figures;  // what a method of tuning says besides
    std::vector<double> imbalance;          // busiest expert over the mean, by layer with experts
  };
  struct Evaluation {
    int64_t step = 0;
    double tokens = 0, bits_per_byte = 0;
  };
  // Tokens each expert received since the last such line, by layer.
  struct Load {
    int64_t step = 0;
    double tokens = 0;
    std::vector<int> layers;
    std::vector<std::vector<double>> counts;
  };
  std::vector<Step> steps;
  std::vector<Evaluation> evaluations;
  std::vector<Load> loads;
  // Of tuning; evaluations hold what its method measures.
  std::vector<Step> tune_steps;
  std::vector<Evaluation> tune_evaluations;
};

// Empty when there is no log.
History read_history(const fs::path& log);

}  // namespace frugal
