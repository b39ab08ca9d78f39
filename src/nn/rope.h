// Rotary frequencies: plain (Su et al. 2021), Llama 3.1's and YaRN (Peng et al. 2023) as Hugging Face applies
// them, and the table of cos and sin that the rope op takes.
#pragma once

#include <optional>
#include <string>

#include "core/fields.h"
#include "tensor/tensor.h"

namespace frugal {

// config.json's rope_scaling (or rope_parameters), HF's names.
struct RopeScaling {
  std::string rope_type;  // "default", "linear", "llama3", "longrope", "yarn"
  std::string type;       // the older name of rope_type
  double factor = 1;
  std::optional<double> rope_theta;  // in rope_parameters
  std::optional<int64_t> original_max_position_embeddings;
  // llama3
  double low_freq_factor = 1, high_freq_factor = 4;
  // yarn
  double beta_fast = 32, beta_slow = 1;
  std::optional<double> mscale, mscale_all_dim, attention_factor;
  bool truncate = true;  // false: the ramp's ends are not rounded (gpt-oss)
  // longrope: divisors of the frequencies; only lists that are equal are supported
  std::vector<double> short_factor, long_factor;
  void visit(FieldVisitor& v);
  const std::string& kind() const { return rope_type.empty() ? type : rope_type; }
};

struct RopeFrequencies {
  std::vector<double> inverse;  // (dim / 2)
  double magnitude = 1;         // multiplies cos and sin (YaRN's attention factor)
};
// UsageError on an unknown kind or impossible numbers.
RopeFrequencies rope_frequencies(int64_t dim, double theta, const std::optional<RopeScaling>& scaling,
                                 int64_t max_positions);

// What DeepSeek multiplies the softmax scale by: (0.1 mscale_all_dim ln factor + 1)^2, or 1.
double yarn_softmax_factor(const std::optional<RopeScaling>& scaling);

// Grows on demand, shared by the layers of a model.
class RopeTable {
 public:
  explicit RopeTable(RopeFrequencies frequencies) : frequencies_(std::move(frequencies)) {}
  // (at least `positions`, dim / 2, 2) of cos, sin.
  Tensor table(const Context& ctx, int64_t positions);

 private:
  RopeFrequencies frequencies_;
  Tensor table_;
};

}  // namespace frugal
