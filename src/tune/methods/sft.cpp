// Supervised fine-tuning: cross-entropy of what the assistant says.
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
  Objective objective() override { return sft_objective; }
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
    return json;
  }

 private:
  static PackingOptions packing(const TuneSetup& setup) {
    return {.pack = setup.options.data.pack, .seed = setup.seed};
  }

  std::vector<TokenSequence> sequences(const TuneSetup& setup) {
    auto all = example_sequences(setup, false);
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
