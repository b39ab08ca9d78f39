// Group relative policy optimisation: the model replies to problems, several times each; what is better than
// its group's mean becomes likelier (tune/policy.h).
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tune/losses.h"
#include "tune/policy.h"
#include "tune/rollouts.h"

namespace frugal {
namespace {

// The token that ends the assistant's turn in the model's chat template, when it is one.
std::vector<int32_t> end_of_turn(const SequenceBuilder& builder, const Tokenizer& tokenizer,
                                 const Problem& problem) {
  Json messages = parse_json(problem.messages_json, problem.where);
  const size_t prompt = messages.size();
  messages.push_back({{"role", "assistant"}, {"content", "0"}});
  const TokenSequence sequence = builder.build({to_text(messages), prompt, {}, {}, problem.where});
  for (size_t i = sequence.tokens.size(); i-- > 0;) {
    if (!sequence.learnt[i]) continue;
    if (tokenizer.is_special(sequence.tokens[i])) return {sequence.tokens[i]};
    break;
  }
  return {};
}

class Grpo : public TuneTask {
 public:
  explicit Grpo(const TuneSetup& setup)
      : setup_(setup),
        options_(setup.options.grpo),
        builder_(setup.tokenizer, setup.options.data.parsed_turns()),
        train_(prompts("data.train", problems(setup.options.data.train, false))),
        ends_(find_ends()),
        rollouts_(setup, train_, stop_ids()) {
    if (setup.options.data.has_validation()) {
      valid_ = prompts("data.valid", problems(setup.options.data.valid, true));
    }
  }

  int64_t further_bytes(const Model& model) const override {
    const int64_t cache =
        options_.at_once * setup_.options.train.context * kv_bytes_per_token(model, formats::f32);
    // Replies' logits.
    return cache + options_.at_once * model.shape().vocab_size * static_cast<int64_t>(sizeof(float));
  }
  void begin(Model& model) override { rollouts_.begin(model); }

  BatchSource& batches() override { return source_; }
  Objective objective() override {
    return [this](Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step, double) {
      return train(ctx, model, rows, step);
    };
  }

  std::string_view measured() const override {
    return options_.reward.answer == "none" ? "mean reward" : "of the answers right";
  }
  int64_t validation_tokens() const override {
    int64_t tokens = 0;
    for (const auto& ids : valid_.ids) tokens += std::ssize(ids) + options_.max_tokens;
    return tokens;
  }
  double validate(Context&, Model&) override { return rollouts_.examine(valid_); }

  std::vector<int32_t> end_ids() const override { return ends_; }

  Json figures() const override {
    Json json = Json::object();
    for (const auto& [name, value] : rollouts_.figures()) json[name] = value;
    const auto tokens = static_cast<double>(std::max<int64_t>(1, tokens_));
    if (options_.beta > 0) json["KL from the model as it began, nats a token"] = kl_ / tokens;
    if (options_.updates > 1) json["share of tokens out of bounds"] = clipped_ / tokens;
    return json;
  }

  Work take_work() override { return rollouts_.take_work(); }

  Json summary() const override {
    Json json = {{"examples", train_.ids.size()},
                 {"epochs", rollouts_.epochs()},
                 {"replies", rollouts_.replies()},
                 {"tokens_without_padding", rollouts_.tokens()},
                 {"targets", rollouts_.targets()}};
    if (!valid_.ids.empty()) json["validation_problems"] = valid_.ids.size();
    return json;
  }

 private:
  struct Source : BatchSource {
    explicit Source(Grpo& task) : task_(task) {}
    TrainBatch next(int64_t rows, int64_t length) override {
      task_.kl_ = task_.clipped_ = 0;
      task_.tokens_ = 0;
      return task_.rollouts_.next(rows, length);
    }
    Json state() const override { return task_.rollouts_.state(); }
    void restore(const Json& state, const std::string& where) override {
      task_.rollouts_.restore(state, where);
    }
    Grpo& task_;
  };

  std::vector<Problem> problems(const std::vector<std::string>& patterns, bool valid) const {
    if (setup_.options.data.sums > 0) {
      return sum_problems(setup_.options.data, setup_.seed, valid, builder_.has_template());
    }
    return read_problems(patterns, valid ? "data.valid" : "data.train", options_.reward.answer != "none");
  }

  // Problems without room for a reply are left out, or an error as data.too_long says.
  Prompts prompts(std::string_view key, std::vector<Problem> problems) const {
    const int64_t room = setup_.options.train.context - options_.max_tokens;
    Prompts out;
    const size_t all = problems.size();
    for (Problem& problem : problems) {
      std::vector<int32_t> ids = problem.messages_json.empty()
                                     ? builder_.text_prompt(problem.text, problem.where)
                                     : builder_.prompt(problem.messages_json, problem.where);
      if (std::ssize(ids) > room) {
        if (setup_.options.data.too_long != "error") continue;
        fail(
            "{}: a prompt of {} tokens and a reply of grpo.max_tokens = {} do not fit into train.context = "
            "{}",
            problem.where, ids.size(), options_.max_tokens, setup_.options.train.context);
      }
      out.problems.push_back(std::move(problem));
      out.ids.push_back(std::move(ids));
    }
    if (out.ids.empty()) {
      fail("{}: none of the {} prompts leaves room for a reply of grpo.max_tokens = {} in train.context = {}",
           key, all, options_.max_tokens, setup_.options.train.context);
    }
    if (setup_.note && out.ids.size() < all) {
      setup_.note(fmt::format("{}: {} of {} prompts leave no room for a reply of {} tokens: left out", key,
                              all - out.ids.size(), all, options_.max_tokens));
    }
    return out;
  }

  std::vector<int32_t> find_ends() const {
    for (const Problem& problem : train_.problems) {
      if (!problem.messages_json.empty()) return end_of_turn(builder_, setup_.tokenizer, problem);
    }
    return {};
  }
  std::vector<int32_t> stop_ids() const {
    std::vector<int32_t> ids = setup_.stop_ids;
    ids.insert(ids.end(), ends_.begin(), ends_.end());
    return ids;
  }

  LossSums train(Context& ctx, Model& model, const TrainBatch& batch, const LossSums& step) {
    const TrainRows rows = without_padding(batch);
    const SequenceLogProbs got =
        sequence_log_probs(ctx, model, rows, static_cast<float>(options_.temperature));
    std::vector<float> gradients(rows.targets.size(), 0.0f);
    LossSums sums;
    if (!ctx.dry_run()) add_losses(got, rows, step, gradients, sums);
    if (ctx.tape != nullptr) {
      got.backward_from(ctx, gradients);
      ctx.tape->backward(ctx);
    }
    return sums;
  }

  void add_losses(const SequenceLogProbs& got, const TrainRows& rows, const LossSums& step,
                  std::vector<float>& gradients, LossSums& sums) {
    const PolicyBounds bounds{options_.clip_low, options_.clip_high, options_.beta};
    const auto targets = static_cast<double>(step.targets);
    const auto replies = static_cast<double>(setup_.options.train.batch);
    for (size_t s = 0; s < got.sums.size(); ++s) {
      const double weight = options_.loss == "token"
                                ? 1 / targets
                                : 1 / (replies * static_cast<double>(std::max<int64_t>(1, got.counts[s])));
      for (auto i = static_cast<size_t>(got.offsets[s]); i < static_cast<size_t>(got.offsets[s + 1]); ++i) {
        if (got.targets[i] < 0) continue;
        const auto column = [&](Rollouts::Column c) { return static_cast<double>(rows.extra.at(c)[i]); };
        const auto now = static_cast<double>(got.tokens.f32()[i]);
        const double old = options_.updates > 1 ? column(Rollouts::old_column) : now;
        const TokenLoss token = token_loss(now, old, column(Rollouts::reference_column),
                                           column(Rollouts::advantage_column), bounds);
        gradients[i] = static_cast<float>(token.gradient * weight);
        sums.main += token.loss * weight * targets;
        kl_ += token.kl;
        clipped_ += token.clipped;
        ++tokens_;
      }
    }
  }

  TuneSetup setup_;
  const GrpoOptions& options_;
  SequenceBuilder builder_;
  Prompts train_;
  std::vector<int32_t> ends_;
  Rollouts rollouts_;
  Prompts valid_;
  Source source_{*this};
  double kl_ = 0, clipped_ = 0;  // of the latest batch
  int64_t tokens_ = 0;
};

}  // namespace

std::unique_ptr<TuneTask> make_grpo(const TuneSetup& setup) {
  return std::make_unique<Grpo>(setup);
}

}  // namespace frugal
