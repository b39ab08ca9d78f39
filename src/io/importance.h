// An importance matrix: how large the inputs of every matrix are, column by column, on some text. Block
// formats weigh the error of each value with it. On disk it is the GGUF file that llama.cpp's tools exchange:
// NAME.in_sum2, sums of squares, and NAME.counts, by the GGUF names of the matrices; experts lie one after
// the other.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/files.h"
#include "models/model.h"

namespace frugal {

struct Importance {
  struct Matrix {
    std::vector<float> mean_squares;  // (in), at least 0
    int64_t rows = 0;                 // tokens that it took in; 0: none came, nothing is known
  };
  std::map<std::string, Matrix> matrices;  // by HF's parameter name
  std::vector<std::string> texts;          // what was read
  int64_t tokens = 0, context = 0;         // all of them, and in a window

  const Matrix* find(const std::string& parameter) const {
    const auto it = matrices.find(parameter);
    return it == matrices.end() ? nullptr : &it->second;
  }
};

// Error when the model's family has no GGUF names, or the file cannot be written.
void save_importance(const fs::path& path, const Importance& importance, Model& model);
// What the file says of this model's matrices; those it lacks are absent. Error on a file that is no
// importance matrix, is one of another model (other widths, no matrix in common), or holds numbers that are
// negative or not finite.
Importance load_importance(const fs::path& path, Model& model);

}  // namespace frugal
