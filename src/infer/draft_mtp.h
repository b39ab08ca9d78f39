// Drafts from a model's multi-token-prediction modules (DeepSeek-V3 report §2.2), for one sequence. Module d
// combines the hidden row at position i, of the model or of module d - 1, with the token at i + d, and
// predicts the one after. Its keys are cached like the model's own and are there for the prompt too: without
// them the first drafts are much worse. Beyond the last module it is asked again with its own hidden rows.
//
// Checkpoints differ in which hidden rows a module takes: before the norm in front of the head, as the report
// has it and Frugal trains, or after it, as the published weights' serving code does. Nothing in a checkpoint
// says so, so both are tried on the first prompt that is long enough, and the one that predicts more of its
// tokens stays.
#pragma once

#include <memory>
#include <vector>

#include "infer/drafter.h"

namespace frugal {

class MtpDrafter : public Drafter {
 public:
  // Error when the model has no such module. Room for sequences of `capacity` tokens.
  MtpDrafter(Context& ctx, Model& model, int64_t capacity, const Format& kv_format);

  std::vector<double> priors() const override {
    return {0.8};
  }  // as the report's §5.4.3 has it, and a little less
  bool free() const override { return false; }
  Draft propose(std::span<const int32_t> text, int64_t most) override;

  // The model's hidden rows of the next positions of the sequence, whose known tokens are `text`.
  void observe(const Hidden& rows, std::span<const int32_t> text);
  // The sequence keeps its first `tokens` tokens: returns how many rows of the model may be kept, the others
  // have to be observed again.
  int64_t keep(int64_t tokens);

 private:
  struct Module {
    Cache cache;                  // its length: the rows whose tokens are certain
    std::vector<float> previous;  // hidden rows behind those, for when their tokens are known
    int64_t rows(int64_t width) const { return std::ssize(previous) / width; }
  };
  struct Pass {
    std::vector<float> hidden;  // what the next module takes
    Tensor normed;
  };
  Pass run(int depth, std::vector<float> previous, std::vector<int32_t> tokens);
  std::vector<float> handed_on(const Hidden& rows) const;
  void extend(std::span<const int32_t> text);
  bool decide_form(const Hidden& rows, std::span<const int32_t> text);
  int64_t right_tokens(const Tensor& previous, std::span<const int32_t> text);
  int32_t token_after(const Tensor& normed);

  Context& ctx_;
  Model& model_;
  int64_t width_;
  std::vector<Module> modules_;
  enum class Form { before_norm, normed } form_ = Form::before_norm;
  bool decided_ = false;
  // Of the last certain row of the first module: what the head takes, and what the next module would.
  Tensor last_normed_;
  std::vector<float> last_hidden_;
};

}  // namespace frugal
