// Practice: replies that the model writes itself, rewarded, as training batches. A row is a reply behind its
// prompt.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "train/batch_source.h"
#include "tune/method.h"
#include "tune/order.h"
#include "tune/problems.h"
#include "tune/replies.h"
#include "tune/rewards.h"

namespace frugal {

struct Prompts {
  std::vector<Problem> problems;
  std::vector<std::vector<int32_t>> ids;  // of each
};

class Rollouts : public BatchSource {
 public:
  // Columns of TrainBatch::extra, by the row that predicts a token of the reply. Without further updates on
  // the same replies old log-probabilities are those of the step itself; without a KL divergence there is no
  // reference.
  enum Column : size_t { advantage_column, old_column, reference_column, columns };

  // Prompts and replies fit into train.context.
  Rollouts(const TuneSetup& setup, Prompts prompts, std::vector<int32_t> stop_ids);
  // Before next() and examine(): the model that replies, as it begins.
  void begin(Model& model);

  TrainBatch next(int64_t rows, int64_t length) override;
  Json state() const override;
  void restore(const Json& state, const std::string& where) override;

  // Of the latest replies: "reward", "tokens of a reply", ...
  const std::map<std::string, double>& figures() const { return figures_; }
  // Replies to all of `prompts`, the most likely token each time, judged: the share of right answers, or the
  // mean reward where no answer is asked for.
  double examine(const Prompts& prompts);
  Work take_work() { return std::exchange(work_, {}); }
  double epochs() const;
  int64_t replies() const { return replies_; }
  int64_t tokens() const { return tokens_; }    // of prompts and replies
  int64_t targets() const { return targets_; }  // of replies

 private:
  struct Rollout {
    TokenSequence sequence;
    double advantage = 0;
    std::vector<float> old, reference;  // of its targets, in order; may be empty
  };
  struct Judged {
    std::vector<OwnReply> replies;
    Rewards::Scores scores;
  };

  Judged reply_to(const Prompts& prompts, std::span<const size_t> which, std::span<const uint64_t> seeds,
                  double temperature);
  void practise(int64_t replies);
  void keep_figures(const Judged& judged);
  void add_log_probs(Model& model, std::vector<float> Rollout::*to, int64_t length);
  TrainBatch rows_of(size_t begin, size_t end, int64_t length) const;

  const TuneSetup setup_;
  const GrpoOptions& options_;
  Prompts prompts_;
  std::vector<int32_t> stop_ids_;
  Rewards rewards_;
  std::string key_;  // of the prompts
  ShuffledOrder order_;
  Context context_;  // of replies
  Model* model_ = nullptr;
  std::unique_ptr<Model> reference_;  // when the whole model is trained
  std::optional<Engine> engine_;
  std::vector<Rollout> rollouts_;
  int64_t rounds_ = 0;  // of replies
  int64_t used_ = 0;    // times that the latest ones were given
  int64_t replies_ = 0, tokens_ = 0, targets_ = 0;
  std::map<std::string, double> figures_;
  Work work_;
};

}  // namespace frugal
