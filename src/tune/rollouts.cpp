#include "tune/rollouts.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "data/hash.h"
#include "nn/adapter.h"
#include "tune/losses.h"
#include "tune/packing.h"
#include "tune/policy.h"

namespace frugal {
namespace {

std::string key_of_prompts(const Prompts& prompts) {
  Hasher128 hasher;
  for (size_t i = 0; i < prompts.ids.size(); ++i) {
    hasher.update_framed(prompts.problems[i].answer);
    hasher.update_number(prompts.ids[i].size());
    hasher.update(prompts.ids[i].data(), prompts.ids[i].size() * sizeof(int32_t));
  }
  return hasher.finish().hex();
}

[[noreturn]] void damaged(const std::string& where, std::string_view what) {
  fail("{}: the data position is damaged ({})", where, what);
}

template <class T>
std::vector<T> numbers(const Json& json, const char* name, const std::string& where) {
  const Json list = json.is_object() ? json.value(name, Json()) : Json();
  if (!list.is_array()) damaged(where, name);
  std::vector<T> out;
  for (const Json& value : list) {
    if (!value.is_number()) damaged(where, name);
    out.push_back(value.get<T>());
  }
  return out;
}

}  // namespace

Rollouts::Rollouts(const TuneSetup& setup, Prompts prompts, std::vector<int32_t> stop_ids)
    : setup_(setup),
      options_(setup.options.grpo),
      prompts_(std::move(prompts)),
      stop_ids_(std::move(stop_ids)),
      rewards_(options_.reward),
      key_(key_of_prompts(prompts_)),
      order_(prompts_.ids.size(), setup.seed, "order of problems"),
      context_(setup.ctx) {
  context_.tape = nullptr;
  context_.aux = nullptr;
  context_.stream_weights = true;
  context_.compute = Compute::exact;
}

void Rollouts::begin(Model& model) {
  model_ = &model;
  if (options_.beta > 0 && setup_.options.whole_model()) reference_ = setup_.open();
  const auto slots = static_cast<int>(options_.at_once);
  engine_.emplace(context_, model, EngineOptions{.context = setup_.options.train.context, .slots = slots});
}

double Rollouts::epochs() const {
  return static_cast<double>(replies_) /
         static_cast<double>(options_.group * static_cast<int64_t>(prompts_.ids.size()));
}

Rollouts::Judged Rollouts::reply_to(const Prompts& prompts, std::span<const size_t> which,
                                    std::span<const uint64_t> seeds, double temperature) {
  CHECK(engine_, "begin() comes first");
  std::vector<std::vector<int32_t>> ids;
  for (const size_t i : which) ids.push_back(prompts.ids[i]);
  Judged judged;
  judged.replies = own_replies(*engine_, context_.pool, setup_.tokenizer, ids, seeds,
                               {temperature, options_.max_tokens, stop_ids_, options_.stop});
  std::vector<RewardInput> inputs;
  for (size_t i = 0; i < which.size(); ++i) {
    const OwnReply& reply = judged.replies[i];
    const Problem& problem = prompts.problems[which[i]];
    inputs.push_back(
        {reply.text, problem.answer, problem.row, std::ssize(reply.ids), reply.ended, options_.max_tokens});
    const Work work = generation_work(*model_, formats::f32, std::ssize(ids[i]), std::ssize(reply.ids));
    work_.flops += work.flops;
    work_.bytes += work.bytes;
  }
  judged.scores = rewards_.score(inputs);
  return judged;
}

void Rollouts::keep_figures(const Judged& judged) {
  double ended = 0, length = 0, reward = 0;
  for (const OwnReply& reply : judged.replies) {
    ended += reply.ended;
    length += static_cast<double>(reply.ids.size());
  }
  for (const double total : judged.scores.totals) reward += total;
  const auto count = static_cast<double>(judged.replies.size());
  figures_ = {{"reward", reward / count},
              {"tokens of a reply", length / count},
              {"share of replies that ended", ended / count},
              {"share of groups without signal", silent_groups(judged.scores.totals, options_.group)}};
  for (const auto& [name, mean] : judged.scores.means) figures_["reward: " + name] = mean;
}

void Rollouts::practise(int64_t replies) {
  std::vector<size_t> which;
  std::vector<uint64_t> seeds;
  const int64_t problems = replies / options_.group;
  for (int64_t p = 0; p < problems; ++p) {
    const size_t problem = order_.at(rounds_ * problems + p);
    for (int64_t g = 0; g < options_.group; ++g) {
      seeds.push_back(hash64(fmt::format("reply {} {}", rounds_, which.size()), setup_.seed));
      which.push_back(problem);
    }
  }
  const Judged judged = reply_to(prompts_, which, seeds, options_.temperature);
  keep_figures(judged);
  const std::vector<double> advantages =
      group_advantages(judged.scores.totals, options_.group, options_.scale_by_deviation);
  rollouts_.clear();
  for (size_t i = 0; i < which.size(); ++i) {
    rollouts_.push_back(
        {SequenceBuilder::join(prompts_.ids[which[i]], judged.replies[i].ids), advantages[i], {}, {}});
  }
  ++rounds_;
  replies_ += replies;
}

TrainBatch Rollouts::rows_of(size_t begin, size_t end, int64_t length) const {
  std::vector<std::vector<const TokenSequence*>> rows;
  for (size_t i = begin; i < end; ++i) rows.push_back({&rollouts_[i].sequence});
  TrainBatch batch = batch_of(rows, length);
  batch.extra.assign(columns, std::vector<float>(batch.tokens.size(), 0.0f));
  const auto width = static_cast<size_t>(length);
  for (size_t r = 0; r < rows.size(); ++r) {
    const Rollout& rollout = rollouts_[begin + r];
    size_t target = 0;
    for (size_t i = r * width; i < (r + 1) * width; ++i) {
      if (batch.targets[i] < 0) continue;
      batch.extra[advantage_column][i] = static_cast<float>(rollout.advantage);
      if (!rollout.old.empty()) batch.extra[old_column][i] = rollout.old[target];
      if (!rollout.reference.empty()) batch.extra[reference_column][i] = rollout.reference[target];
      ++target;
    }
  }
  return batch;
}

// What `model` says of the replies, as training computes it.
void Rollouts::add_log_probs(Model& model, std::vector<float> Rollout::*to, int64_t length) {
  Context ctx = context_;
  ctx.stream_weights = false;
  ctx.compute = setup_.options.train.compute_mode();
  const auto at_once = static_cast<size_t>(setup_.options.train.rows_at_once());
  int64_t tokens = 0, passes = 0;
  for (size_t begin = 0; begin < rollouts_.size(); begin += at_once, ++passes) {
    const size_t end = std::min(rollouts_.size(), begin + at_once);
    const TrainRows rows = without_padding(rows_of(begin, end, length));
    const SequenceLogProbs got =
        sequence_log_probs(ctx, model, rows, static_cast<float>(options_.temperature));
    for (size_t s = 0; s + begin < end; ++s) {
      for (auto i = static_cast<size_t>(got.offsets[s]); i < static_cast<size_t>(got.offsets[s + 1]); ++i) {
        if (got.targets[i] >= 0) (rollouts_[begin + s].*to).push_back(got.tokens.f32()[i]);
      }
    }
    tokens += rows.batch.rows();
  }
  const int64_t mean = std::max<int64_t>(1, tokens / std::max<int64_t>(1, std::ssize(rollouts_)));
  const Work work = forward_work(model, mean, tokens, passes);
  work_.flops += work.flops;
  work_.bytes += work.bytes;
}

TrainBatch Rollouts::next(int64_t rows, int64_t length) {
  if (rollouts_.empty() || used_ == options_.updates) {
    practise(rows);
    if (options_.updates > 1) add_log_probs(*model_, &Rollout::old, length);
    if (reference_) {
      add_log_probs(*reference_, &Rollout::reference, length);
    } else if (options_.beta > 0) {
      const WithoutAdapters plain([this](ParamVisitor& v) { model_->visit(v); });
      add_log_probs(*model_, &Rollout::reference, length);
    }
    used_ = 0;
  }
  ++used_;
  for (const Rollout& rollout : rollouts_) {
    tokens_ += std::ssize(rollout.sequence.tokens);
    targets_ += rollout.sequence.targets();
  }
  return rows_of(0, rollouts_.size(), length);
}

double Rollouts::examine(const Prompts& prompts) {
  std::vector<size_t> which(prompts.ids.size());
  std::iota(which.begin(), which.end(), size_t{0});
  const Judged judged = reply_to(prompts, which, std::vector<uint64_t>(which.size()), 0);
  const std::vector<double>& values =
      judged.scores.right.empty() ? judged.scores.totals : judged.scores.right;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Json Rollouts::state() const {
  Json rollouts = Json::array();
  if (used_ < options_.updates) {  // the replies are used again
    for (const Rollout& r : rollouts_) {
      const int64_t given = std::ssize(r.sequence.tokens) - r.sequence.targets();
      rollouts.push_back({{"tokens", r.sequence.tokens},
                          {"given", given},
                          {"advantage", r.advantage},
                          {"old", r.old},
                          {"reference", r.reference}});
    }
  }
  return {{"key", key_},         {"seed", setup_.seed}, {"rounds", rounds_},   {"used", used_},
          {"replies", replies_}, {"tokens", tokens_},   {"targets", targets_}, {"rollouts", rollouts}};
}

void Rollouts::restore(const Json& state, const std::string& where) {
  if (!state.is_object() || state.value("key", Json()) != Json(key_)) {
    fail("{}: the position is one in other problems (or another tokenizer); choose another output", where);
  }
  if (state.value("seed", Json()) != Json(setup_.seed)) {
    fail("{}: the position is one of another seed; choose another output", where);
  }
  for (const auto& [name, value] : {std::pair{"rounds", &rounds_},
                                    {"used", &used_},
                                    {"replies", &replies_},
                                    {"tokens", &tokens_},
                                    {"targets", &targets_}}) {
    const auto found = state.find(name);
    if (found == state.end() || !found->is_number_integer() || found->get<int64_t>() < 0)
      damaged(where, name);
    *value = found->get<int64_t>();
  }
  const Json list = state.value("rollouts", Json());
  if (!list.is_array()) damaged(where, "rollouts");
  rollouts_.clear();
  for (const Json& item : list) {
    const auto tokens = numbers<int32_t>(item, "tokens", where);
    const int64_t given = item.value("given", int64_t{0});
    if (given < 1 || given >= std::ssize(tokens)) damaged(where, "given");
    const auto ids = std::span(tokens);
    const auto prompt = static_cast<size_t>(given);
    Rollout rollout{SequenceBuilder::join(ids.first(prompt), ids.subspan(prompt)),
                    item.value("advantage", 0.0), numbers<float>(item, "old", where),
                    numbers<float>(item, "reference", where)};
    for (const auto* values : {&rollout.old, &rollout.reference}) {
      if (!values->empty() && std::ssize(*values) != rollout.sequence.targets()) damaged(where, "rollouts");
    }
    rollouts_.push_back(std::move(rollout));
  }
  if (!rollouts_.empty() && std::ssize(rollouts_) != setup_.options.train.batch) damaged(where, "rollouts");
}

}  // namespace frugal
