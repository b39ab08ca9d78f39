// Direct preference optimisation: of two replies to a prompt, the chosen one gains on the rejected one,
// measured against the model as it began.
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "data/hash.h"
#include "tune/losses.h"
#include "tune/method.h"
#include "tune/preference.h"

namespace frugal {
namespace {

struct Pair {
  TokenSequence chosen, rejected;
  double chosen_reference = 0, rejected_reference = 0;
};

// Shortens the sides until a row holds both: the longer one first.
void cut(Pair& pair, size_t most) {
  const size_t a = pair.chosen.tokens.size(), b = pair.rejected.tokens.size();
  const auto shorten = [&](TokenSequence& sequence, size_t other) {
    const size_t room = std::max(most / 2, most - std::min(most, other));
    if (sequence.tokens.size() <= room) return;
    sequence.tokens.resize(room);
    sequence.learnt.resize(room);
  };
  shorten(pair.chosen, b);
  shorten(pair.rejected, a);
}

std::vector<Pair> read_pairs(const TuneSetup& setup, const std::vector<std::string>& patterns,
                             std::string_view key) {
  const std::vector<Preference> preferences = read_preferences(patterns, key);
  const SequenceBuilder builder(setup.tokenizer, setup.options.data.parsed_turns());
  const auto most = static_cast<size_t>(setup.options.train.context);
  const std::string& too_long = setup.options.data.too_long;
  std::vector<Pair> pairs;
  int64_t shortened = 0, dropped = 0;
  for (const Preference& preference : preferences) {
    Pair pair{builder.build(preference.chosen), builder.build(preference.rejected)};
    const size_t size = pair.chosen.tokens.size() + pair.rejected.tokens.size();
    if (size > most) {
      if (too_long == "error") {
        fail(
            "{}: both replies with their prompts have {} tokens, train.context is {}: raise it, or set "
            "data.too_long to cut or drop",
            preference.chosen.where, size, most);
      }
      cut(pair, most);
      if (too_long == "drop" || pair.chosen.targets() == 0 || pair.rejected.targets() == 0) {
        ++dropped;
        continue;
      }
      ++shortened;
    }
    pairs.push_back(std::move(pair));
  }
  if (pairs.empty()) {
    fail("{}: none of the {} pairs fits into train.context = {} tokens", key, preferences.size(), most);
  }
  if (setup.note && shortened + dropped > 0) {
    setup.note(
        fmt::format("{}: {} of {} pairs are longer than train.context = {} tokens: {} cut, {} left out", key,
                    shortened + dropped, preferences.size(), most, shortened, dropped));
  }
  return pairs;
}

std::string key_of(const std::vector<Pair>& pairs) {
  std::vector<TokenSequence> all;
  for (const Pair& pair : pairs) {
    all.push_back(pair.chosen);
    all.push_back(pair.rejected);
  }
  return key_of(all);
}

// A row each: chosen, rejected, padding. The reference's log-probability stands at a sequence's first token.
TrainBatch rows_of(const std::vector<const Pair*>& pairs, int64_t length) {
  std::vector<std::vector<const TokenSequence*>> rows;
  for (const Pair* pair : pairs) rows.push_back({&pair->chosen, &pair->rejected});
  TrainBatch batch = batch_of(rows, length);
  batch.extra.emplace_back(batch.tokens.size(), 0.0f);
  for (size_t r = 0; r < pairs.size(); ++r) {
    const size_t begin = r * static_cast<size_t>(length);
    batch.extra[0][begin] = static_cast<float>(pairs[r]->chosen_reference);
    batch.extra[0][begin + pairs[r]->chosen.tokens.size()] = static_cast<float>(pairs[r]->rejected_reference);
  }
  return batch;
}

// Pairs in an order that is new every epoch.
class PairBatches : public BatchSource {
 public:
  PairBatches(std::vector<Pair>& pairs, uint64_t seed) : pairs_(pairs), seed_(seed), key_(key_of(pairs)) {}

  TrainBatch next(int64_t rows, int64_t length) override {
    std::vector<const Pair*> chosen;
    for (int64_t i = 0; i < rows; ++i) {
      chosen.push_back(&pairs_[static_cast<size_t>(place(given_++))]);
      tokens_ += std::ssize(chosen.back()->chosen.tokens) + std::ssize(chosen.back()->rejected.tokens);
      targets_ += chosen.back()->chosen.targets() + chosen.back()->rejected.targets();
    }
    return rows_of(chosen, length);
  }
  Json state() const override {
    return {{"key", key_}, {"seed", seed_}, {"given", given_}, {"tokens", tokens_}, {"targets", targets_}};
  }
  void restore(const Json& state, const std::string& where) override {
    if (!state.is_object() || state.value("key", Json()) != Json(key_)) {
      fail("{}: the position is one in other pairs (or another tokenizer or context); choose another output",
           where);
    }
    if (state.value("seed", Json()) != Json(seed_)) {
      fail("{}: the position is one of another seed; choose another output", where);
    }
    for (const auto& [name, value] :
         {std::pair{"given", &given_}, {"tokens", &tokens_}, {"targets", &targets_}}) {
      const auto found = state.find(name);
      if (found == state.end() || !found->is_number_integer() || found->get<int64_t>() < 0) {
        fail("{}: the data position is damaged ({})", where, name);
      }
      *value = found->get<int64_t>();
    }
  }
  double epochs() const { return static_cast<double>(given_) / static_cast<double>(pairs_.size()); }
  int64_t tokens() const { return tokens_; }
  int64_t targets() const { return targets_; }

 private:
  int64_t place(int64_t index) {
    const int64_t size = std::ssize(pairs_), epoch = index / size;
    if (epoch != ordered_epoch_) {
      order_.resize(pairs_.size());
      std::iota(order_.begin(), order_.end(), 0);
      Rng rng(seed_, hash64("order of pairs"), static_cast<uint64_t>(epoch) << 32);
      for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.below(i)]);
      ordered_epoch_ = epoch;
    }
    return order_[static_cast<size_t>(index % size)];
  }

  std::vector<Pair>& pairs_;
  uint64_t seed_;
  std::string key_;
  int64_t given_ = 0, tokens_ = 0, targets_ = 0, ordered_epoch_ = -1;
  std::vector<int64_t> order_;
};

// Sums over pairs.
struct PairSums {
  int64_t pairs = 0;
  double loss = 0, right = 0, margin = 0, chosen = 0, rejected = 0;

  void add(const PairLoss& pair) {
    ++pairs;
    loss += pair.loss;
    right += pair.chosen_reward > pair.rejected_reward;
    margin += pair.chosen_reward - pair.rejected_reward;
    chosen += pair.chosen_reward;
    rejected += pair.rejected_reward;
  }
  double mean(double sum) const { return pairs > 0 ? sum / static_cast<double>(pairs) : 0; }
};

class Dpo : public TuneTask {
 public:
  explicit Dpo(const TuneSetup& setup)
      : setup_(setup),
        kind_(setup.options.dpo.loss == "ipo" ? PreferenceLoss::ipo : PreferenceLoss::sigmoid),
        pairs_(read_pairs(setup, setup.options.data.train, "data.train")),
        batches_(pairs_, setup.seed),
        source_(*this) {
    if (!setup.options.data.valid.empty()) valid_ = read_pairs(setup, setup.options.data.valid, "data.valid");
    for (const Pair& pair : valid_) {
      valid_tokens_ += std::ssize(pair.chosen.tokens) + std::ssize(pair.rejected.tokens);
    }
  }

  void begin(Model& model) override {
    add_reference(model, pairs_, "reference.train.json");
    if (!valid_.empty()) add_reference(model, valid_, "reference.valid.json");
  }

  BatchSource& batches() override { return source_; }
  Objective objective() override {
    return [this](Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step, double) {
      return train(ctx, model, rows, step);
    };
  }

  std::string_view measured() const override { return "loss per pair"; }
  int64_t validation_tokens() const override { return valid_tokens_; }
  double validate(Context& ctx, Model& model) override {
    CHECK(!valid_.empty());
    PairSums sums;
    in_batches(valid_, [&](const std::vector<Pair*>& part) {
      const TrainBatch rows = rows_of({part.begin(), part.end()}, setup_.options.train.context);
      for (const PairLoss& pair : losses(log_probs(ctx, model, rows), without_padding(rows))) sums.add(pair);
    });
    valid_right_ = sums.mean(sums.right);
    return sums.mean(sums.loss);
  }

  Json figures() const override {
    return {{"share of pairs preferred rightly", latest_.mean(latest_.right)},
            {"reward margin", latest_.mean(latest_.margin)},
            {"reward of chosen replies", latest_.mean(latest_.chosen)},
            {"reward of rejected replies", latest_.mean(latest_.rejected)}};
  }

  Work take_work() override { return std::exchange(work_, {}); }

  Json summary() const override {
    Json json = {{"examples", pairs_.size()},
                 {"epochs", batches_.epochs()},
                 {"tokens_without_padding", batches_.tokens()},
                 {"targets", batches_.targets()},
                 {"preferred_rightly", latest_.mean(latest_.right)}};
    if (!valid_.empty()) {
      json["validation_pairs"] = valid_.size();
      json["validation_preferred_rightly"] = valid_right_;
    }
    return json;
  }

 private:
  // The batches; each begins new figures.
  struct Source : BatchSource {
    explicit Source(Dpo& task) : task_(task) {}
    TrainBatch next(int64_t rows, int64_t length) override {
      task_.latest_ = {};
      return task_.batches_.next(rows, length);
    }
    Json state() const override { return task_.batches_.state(); }
    void restore(const Json& state, const std::string& where) override {
      task_.batches_.restore(state, where);
    }
    Dpo& task_;
  };

  template <class F>
  void in_batches(std::vector<Pair>& pairs, F body) const {
    const auto at_once = static_cast<size_t>(setup_.options.train.rows_at_once());
    for (size_t begin = 0; begin < pairs.size(); begin += at_once) {
      if (setup_.check_stop) setup_.check_stop();
      std::vector<Pair*> part;
      for (size_t i = begin; i < std::min(pairs.size(), begin + at_once); ++i) part.push_back(&pairs[i]);
      body(part);
    }
  }

  // Without gradients, as training computes them.
  SequenceLogProbs log_probs(const Context& ctx, Model& model, const TrainBatch& rows) const {
    Context quiet = ctx;
    quiet.tape = nullptr;
    quiet.aux = nullptr;
    quiet.stream_weights = false;
    quiet.compute = setup_.options.train.compute_mode();
    return sequence_log_probs(quiet, model, without_padding(rows));
  }

  // What the model says before it is tuned, from the file of an earlier run where that was of the same pairs
  // and model.
  void add_reference(Model& model, std::vector<Pair>& pairs, const char* name) {
    Hasher128 hasher;
    for (const std::string& part : {key_of(pairs), setup_.model_key, setup_.options.train.compute}) {
      hasher.update_framed(part);
    }
    const std::string key = hasher.finish().hex();
    const fs::path file = setup_.folder / name;
    if (read_reference(file, key, pairs)) return;
    if (setup_.note) setup_.note(fmt::format("log-probabilities of {} pairs before tuning", pairs.size()));
    Json values = Json::array();
    int64_t tokens = 0, passes = 0;
    in_batches(pairs, [&](const std::vector<Pair*>& part) {
      const TrainBatch rows = rows_of({part.begin(), part.end()}, setup_.options.train.context);
      const SequenceLogProbs got = log_probs(setup_.ctx, model, rows);
      for (size_t i = 0; i < part.size(); ++i) {
        part[i]->chosen_reference = got.sums.at(2 * i);
        part[i]->rejected_reference = got.sums.at(2 * i + 1);
        values.push_back({got.sums[2 * i], got.sums[2 * i + 1]});
        tokens += std::ssize(part[i]->chosen.tokens) + std::ssize(part[i]->rejected.tokens);
      }
      ++passes;
    });
    const Work work = forward_work(model, setup_.options.train.context / 2, tokens, passes);
    work_.flops += work.flops;
    work_.bytes += work.bytes;
    write_file_atomically(file, to_text(Json{{"key", key}, {"log_probabilities", std::move(values)}}) + "\n");
  }

  static bool read_reference(const fs::path& file, const std::string& key, std::vector<Pair>& pairs) {
    if (!fs::exists(file)) return false;
    const Json saved = read_json_file(file);
    if (!saved.is_object() || saved.value("key", Json()) != Json(key)) return false;  // of other data
    const Json values = saved.value("log_probabilities", Json());
    const auto damaged = [&] { fail("{}: damaged: remove it, it is made again", file.string()); };
    if (!values.is_array() || values.size() != pairs.size()) damaged();
    for (size_t i = 0; i < pairs.size(); ++i) {
      const Json& two = values[i];
      if (!two.is_array() || two.size() != 2 || !two[0].is_number() || !two[1].is_number()) damaged();
      pairs[i].chosen_reference = two[0].get<double>();
      pairs[i].rejected_reference = two[1].get<double>();
    }
    return true;
  }

  std::vector<PairLoss> losses(const SequenceLogProbs& got, const TrainRows& rows) const {
    std::vector<PairLoss> all;
    for (size_t s = 0; s + 1 < got.sums.size(); s += 2) {
      const auto reference = [&](size_t i) {
        return static_cast<double>(rows.extra.at(0).at(static_cast<size_t>(got.offsets[i])));
      };
      all.push_back(pair_loss(kind_, setup_.options.dpo.beta, {got.sums[s], got.counts[s]},
                              {got.sums[s + 1], got.counts[s + 1]}, reference(s), reference(s + 1)));
    }
    return all;
  }

  LossSums train(Context& ctx, Model& model, const TrainBatch& batch, const LossSums& step) {
    const TrainRows rows = without_padding(batch);
    const SequenceLogProbs got = sequence_log_probs(ctx, model, rows);
    const auto pairs = static_cast<double>(setup_.options.train.batch);
    std::vector<double> gradients(got.sums.size(), 0.0);
    LossSums sums;
    if (!ctx.dry_run()) {
      const std::vector<PairLoss> all = losses(got, rows);
      for (size_t i = 0; i < all.size(); ++i) {
        latest_.add(all[i]);
        gradients[2 * i] = all[i].chosen_gradient / pairs;
        gradients[2 * i + 1] = all[i].rejected_gradient / pairs;
        sums.main += all[i].loss / pairs * static_cast<double>(step.targets);
      }
    }
    if (ctx.tape != nullptr) {
      got.backward_from_sums(ctx, gradients);
      ctx.tape->backward(ctx);
    }
    return sums;
  }

  TuneSetup setup_;
  PreferenceLoss kind_;
  std::vector<Pair> pairs_, valid_;
  PairBatches batches_;
  Source source_;
  PairSums latest_;
  Work work_;
  int64_t valid_tokens_ = 0;
  double valid_right_ = 0;
};

}  // namespace

std::unique_ptr<TuneTask> make_dpo(const TuneSetup& setup) {
  return std::make_unique<Dpo>(setup);
}

}  // namespace frugal
