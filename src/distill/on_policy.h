// On-policy distillation: a share of the rows is text that the student writes itself, as it is at that step,
// so that the teacher corrects the mistakes that the student makes (GKD, Agarwal et al. 2024, "On-Policy
// Distillation of Language Models", algorithm 1). Where the algorithm draws whole batches of one kind or the
// other, a batch here has rows of both, lambda of them the student's own in expectation: the same mixture
// with less noise.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "infer/engine.h"
#include "text/tokenizer.h"
#include "train/batch_source.h"
#include "tune/order.h"

namespace frugal {

struct OnPolicyOptions {
  double lambda = 0;           // share of the rows
  int64_t prompt_tokens = 32;  // from the data, where there are no prompts
  int64_t max_new_tokens = 0;  // that the student writes behind them; 0: until the row is full
  double temperature = 1;
  int64_t at_once = 16;  // texts written together
  uint64_t seed = 0;
  std::vector<int32_t> stop_ids;              // end a text and belong to it
  std::vector<std::vector<int32_t>> prompts;  // what the student answers, shorter than a row
};

// The column of TrainBatch::extra that is not 0 in rows that the student wrote. Batches without such rows
// have none.
inline constexpr size_t kOwnColumn = 0;
struct SplitTargets {
  std::vector<int32_t> data, own;  // (R) each; -1 where the row is of the other kind
};
SplitTargets split_targets(const TrainBatch& rows);

// Rows of `data`, the last of each batch exchanged for the student's own text: behind a prompt, or behind the
// beginning of the row's first document. Only what it wrote has targets, and none for multi-token prediction.
class OwnRows : public BatchSource {
 public:
  // Both outlive this; `data` stands at its beginning.
  OwnRows(const Context& ctx, BatchSource& data, const Tokenizer& tokenizer, OnPolicyOptions options,
          int64_t context);
  // Before next(): the student. A text is a function of seed, step, its number and the student's weights.
  void begin(Model& student);

  TrainBatch next(int64_t rows, int64_t length) override;
  Json state() const override;
  void restore(const Json& state, const std::string& where) override;

  // Of the latest batch, by names for people.
  const std::map<std::string, double>& figures() const { return figures_; }
  Work take_work() { return std::exchange(work_, {}); }  // of writing

 private:
  TrainBatch written(const std::vector<std::vector<int32_t>>& prompts, int64_t length);
  Context context_;
  BatchSource& data_;
  Tokenizer tokenizer_;
  OnPolicyOptions options_;
  int64_t length_;
  ShuffledOrder order_;  // of the prompts
  Model* student_ = nullptr;
  std::optional<Engine> engine_;
  int64_t steps_ = 0, asked_ = 0;
  std::map<std::string, double> figures_;
  Work work_;
};

}  // namespace frugal
