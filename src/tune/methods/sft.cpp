// Supervised fine-tuning: cross-entropy of what the assistant says, or of what a remote teacher says there.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tune/losses.h"
#include "tune/method.h"

namespace frugal {
namespace {

class Sft : public TuneTask {
 public:
  explicit Sft(const TuneSetup& setup) : setup_(setup), batches_(sequences(setup), packing(setup)) {
    if (setup.options.data.has_validation()) {
      const auto valid = example_sequences(setup, true);
      for (const TokenSequence& sequence : valid) {
        valid_tokens_ += std::ssize(sequence.tokens);
        valid_targets_ += sequence.targets();
      }
      valid_ = in_order(valid, setup.options.train.rows_at_once(), setup.options.train.context);
    }
  }

  BatchSource& batches() override { return batches_; }
  Objective objective() override {
    if (weight_ == 0) return sft_objective;
    return [weight = weight_](Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step,
                              double) { return soft_target_objective(ctx, model, rows, step, weight); };
  }
  std::string_view measured() const override { return "nats per target"; }
  int64_t validation_tokens() const override { return valid_tokens_; }

  double validate(Context& ctx, Model& model) override {
    CHECK(!valid_.empty());
    Context quiet = ctx;
    quiet.tape = nullptr;
    quiet.aux = nullptr;
    LossSums all;
    for (const TrainBatch& batch : valid_) {
      const LossSums sums = sft_objective(quiet, model, batch, {}, 0);
      all.main += sums.main;
      all.targets += sums.targets;
    }
    CHECK(all.targets == valid_targets_);
    return all.mean();
  }

  std::vector<int32_t> end_ids() const override { return ends_; }

  Json summary() const override {
    Json json = {{"examples", batches_.sequences()},
                 {"example_tokens", tokens_},
                 {"example_targets", targets_},
                 {"epochs", batches_.epoch()},
                 {"tokens_without_padding", batches_.tokens_given()},
                 {"targets", batches_.targets_given()}};
    if (!valid_.empty()) json["validation_targets"] = valid_targets_;
    if (weight_ > 0) {
      json["logprobs"] = {
          {"examples", said_.examples}, {"tokens_mapped", said_.mapped}, {"tokens_unmapped", said_.unmapped}};
    }
    return json;
  }

 private:
  static PackingOptions packing(const TuneSetup& setup) {
    return {.pack = setup.options.data.pack, .seed = setup.seed};
  }

  std::vector<TokenSequence> sequences(const TuneSetup& setup) {
    auto all = example_sequences(setup, false, weight_ > 0 ? &said_ : nullptr);
    if (weight_ > 0 && said_.mapped == 0) {
      fail(
          "sft.logprobs = {}: {} of data.train; leave it 0, or ask with parameters.logprobs a teacher whose "
          "tokens the model has",
          weight_,
          said_.examples == 0
              ? std::string("no example has \"logprobs\"")
              : fmt::format("of the \"logprobs\" of {} examples none fits a token", said_.examples));
    }
    if (weight_ > 0 && setup.note) {
      setup.note(
          fmt::format("sft.logprobs: {} tokens of {} examples have a teacher's distribution, {} fit none of "
                      "its tokens and are "
                      "learnt as they are",
                      said_.mapped, said_.examples, said_.unmapped));
    }
    for (const TokenSequence& sequence : all) {
      tokens_ += std::ssize(sequence.tokens);
      targets_ += sequence.targets();
    }
    // What ends the first example's last reply, when it is a token of its own.
    const TokenSequence& first = all.front();
    for (size_t i = first.tokens.size(); i-- > 0;) {
      if (!first.learnt[i]) continue;
      if (setup.tokenizer.is_special(first.tokens[i])) ends_ = {first.tokens[i]};
      break;
    }
    return all;
  }

  TuneSetup setup_;
  const double weight_ = setup_.options.sft.logprobs;  // of a remote teacher
  SoftTargetCounts said_;
  int64_t tokens_ = 0, targets_ = 0, valid_tokens_ = 0, valid_targets_ = 0;
  std::vector<int32_t> ends_;
  PackedBatches batches_;
  std::vector<TrainBatch> valid_;
};

}  // namespace

std::unique_ptr<TuneTask> make_sft(const TuneSetup& setup) {
  return std::make_unique<Sft>(setup);
}

}  // namespace frugal
